// Device and pinned memory of the host's CUDA.
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <vector>

#include "cuda_host/internal.h"

namespace cuda_host {

struct Pool {};

namespace {

constexpr size_t kGuard = 64;
constexpr unsigned char kGuardByte = 0xA5;
constexpr int kNothing = 0xff;  // as floats NaN, as integers -1

// Pinned memory and that of cudaMalloc are not of the pool.
enum class Kind { pool, plain, pinned };

struct Block {
  size_t bytes;
  Kind kind;
};

struct Memory {
  std::map<uintptr_t, Block> live;  // by address
  // Freed blocks by size: a pool hands out the same addresses again. Not with AddressSanitizer,
  // which is to see what is used after it was freed.
  std::map<size_t, std::vector<unsigned char*>> spare;
  std::map<uintptr_t, size_t> freed;  // those in `spare`
  size_t used = 0, peak = 0;
  size_t spared = 0;  // bytes in `spare`: the pool keeps them from others, and in their sizes
};
Memory& memory() {
  static auto* instance = new Memory;
  return *instance;
}

#if defined(__SANITIZE_ADDRESS__)
constexpr bool kKeepsBlocks = false;
#else
constexpr bool kKeepsBlocks = true;
#endif

size_t total_memory() {
  const char* text = std::getenv("FUSED_RNN_CUDA_HOST_MEMORY");
  return text != nullptr ? std::strtoull(text, nullptr, 10) : size_t{8} << 30;
}

const std::pair<const uintptr_t, Block>* block_of(uintptr_t address) {
  auto& live = memory().live;
  auto after = live.upper_bound(address);
  if (after == live.begin()) return nullptr;
  const auto& block = *std::prev(after);
  // One past the end is where an empty view may point.
  return address <= block.first + block.second.bytes ? &block : nullptr;
}

void check_guards(const std::pair<const uintptr_t, Block>& block) {
  static const auto expected = [] {
    std::array<unsigned char, kGuard> bytes;
    bytes.fill(kGuardByte);
    return bytes;
  }();
  const auto* data = reinterpret_cast<const unsigned char*>(block.first);
  const auto kept = [](const unsigned char* guard) {
    return std::memcmp(guard, expected.data(), kGuard) == 0;
  };
  if (kept(data - kGuard) && kept(data + block.second.bytes)) return;
  char text[160];
  std::snprintf(text, sizeof text, "memory around a device allocation of %zu bytes was written",
                block.second.bytes);
  die(text);
}

// With room for guards on both sides, except under AddressSanitizer, which has its own.
constexpr size_t kMargin = kKeepsBlocks ? kGuard : 0;

unsigned char* take_spare(size_t bytes) {
  auto& spare = memory().spare[bytes];
  unsigned char* block = spare.back();
  spare.pop_back();
  memory().spared -= bytes;
  memory().freed.erase(reinterpret_cast<uintptr_t>(block));
  return block;
}

unsigned char* take_new(size_t bytes) {
  auto* block = static_cast<unsigned char*>(std::malloc(bytes + 2 * kMargin));
  if (block == nullptr) return nullptr;
  std::memset(block, kGuardByte, bytes + 2 * kMargin);
  std::memset(block + kMargin, kNothing, bytes);
  return block + kMargin;
}

cudaError_t allocate(void** data, size_t bytes, Kind kind) {
  driver.expect("an allocation");
  std::lock_guard guard(lock());
  Memory& m = memory();
  const bool pinned = kind == Kind::pinned;
  const bool again = kind == Kind::pool && !m.spare[bytes].empty();
  if (!pinned && !again && m.used + m.spared + bytes > total_memory()) {
    return set_error(cudaErrorMemoryAllocation);
  }
  unsigned char* block = again ? take_spare(bytes) : take_new(bytes);
  if (block == nullptr) return set_error(cudaErrorMemoryAllocation);
  m.live[reinterpret_cast<uintptr_t>(block)] = {bytes, kind};
  if (!pinned) m.used += bytes;
  m.peak = std::max(m.peak, m.used);
  *data = block;
  return cudaSuccess;
}

void release(void* data) {
  Memory& m = memory();
  const auto block = m.live.find(reinterpret_cast<uintptr_t>(data));
  if (block == m.live.end()) die("memory is freed that is not allocated");
  const auto [bytes, kind] = block->second;
  if (kKeepsBlocks) check_guards(*block);
  m.live.erase(block);
  if (kind != Kind::pinned) m.used -= bytes;
  if (!kKeepsBlocks || kind != Kind::pool) {
    return std::free(static_cast<unsigned char*>(data) - kMargin);
  }
  std::memset(data, kNothing, bytes);
  m.spared += bytes;
  m.spare[bytes].push_back(static_cast<unsigned char*>(data));
  m.freed[reinterpret_cast<uintptr_t>(data)] = bytes;
}

void expect_device(const void* data, size_t bytes, const char* what) {
  if (bytes == 0) return;
  const auto* block = block_of(reinterpret_cast<uintptr_t>(data));
  const bool fits = block != nullptr && block->second.kind != Kind::pinned &&
                    reinterpret_cast<uintptr_t>(data) + bytes <= block->first + block->second.bytes;
  if (!fits) die(what);
}

}  // namespace

Where where(const void* address) {
  const auto* block = block_of(reinterpret_cast<uintptr_t>(address));
  if (block != nullptr) {
    return block->second.kind == Kind::pinned ? Where::pinned : Where::device;
  }
  const auto& freed = memory().freed;
  auto after = freed.upper_bound(reinterpret_cast<uintptr_t>(address));
  if (after != freed.begin()) {
    const auto& [begin, bytes] = *std::prev(after);
    if (reinterpret_cast<uintptr_t>(address) < begin + bytes) return Where::freed_device;
  }
  return Where::nowhere;
}

bool is_mapped(const void* address) {
  const auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  unsigned char resident;
  void* start = reinterpret_cast<void*>(reinterpret_cast<uintptr_t>(address) / page * page);
  return mincore(start, 1, &resident) == 0;
}

void check_surroundings() {
  if (!kKeepsBlocks) return;
  // Of many some at a time, in turn. One that is freed is looked at then.
  constexpr size_t kAtOnce = 256;
  static uintptr_t next = 0;
  const auto& live = memory().live;
  auto block = live.lower_bound(next);
  for (size_t left = std::min(live.size(), kAtOnce); left > 0; --left, ++block) {
    if (block == live.end()) block = live.begin();
    check_guards(*block);
  }
  next = block == live.end() ? 0 : block->first;
}

}  // namespace cuda_host

using namespace cuda_host;

cudaError_t cudaMallocAsync(void** data, size_t bytes, cudaStream_t stream) {
  if (stream == nullptr) die("cudaMallocAsync on the default stream");
  if (is_captured(stream)) die("memory is allocated in a capture: the graph would own it");
  if (fails(Call::allocation)) return set_error(cudaErrorMemoryAllocation);
  const cudaError_t error = allocate(data, bytes, Kind::pool);
  if (error == cudaSuccess) return error;
  // What waits to be freed.
  run_everything();
  return allocate(data, bytes, Kind::pool);
}

cudaError_t cudaFreeAsync(void* data, cudaStream_t stream) {
  if (stream != nullptr && is_captured(stream)) die("memory is freed in a capture");
  static const char what = 0;
  submit(stream, &what, [data] { release(data); });
  return cudaSuccess;
}

cudaError_t cudaMalloc(void** data, size_t bytes) {
  expect_no_capture("cudaMalloc");
  if (fails(Call::allocation)) return set_error(cudaErrorMemoryAllocation);
  return allocate(data, bytes, Kind::plain);
}

cudaError_t cudaFree(void* data) {
  expect_no_capture("cudaFree");
  run_everything();
  std::lock_guard guard(lock());
  if (data != nullptr) release(data);
  return cudaSuccess;
}

cudaError_t cudaHostAlloc(void** data, size_t bytes, unsigned) {
  expect_no_capture("cudaHostAlloc");
  return allocate(data, bytes, Kind::pinned);
}

cudaError_t cudaFreeHost(void* data) { return cudaFree(data); }

cudaError_t cudaHostGetDevicePointer(void** device, void* host, unsigned) {
  if (where(host) != Where::pinned) return set_error(cudaErrorInvalidValue);
  *device = host;
  return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream) {
  static const char what[4] = {};
  std::unique_lock guard(lock());
  const bool from_device = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
  const bool to_device = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
  if (kind == cudaMemcpyDefault || kind == cudaMemcpyHostToHost) die("a copy of an unclear kind");
  if (!from_device && where(from) == Where::device) die("a copy to the device from device memory");
  if (!to_device && where(to) == Where::device) die("a copy to the host into device memory");
  // Pageable memory is read before the call returns.
  std::shared_ptr<std::vector<char>> staged;
  if (!from_device && where(from) != Where::pinned) {
    const char* bytes_of = static_cast<const char*>(from);
    staged = std::make_shared<std::vector<char>>(bytes_of, bytes_of + bytes);
  }
  submit(stream, &what[kind], [=] {
    if (from_device) expect_device(from, bytes, "a copy from beyond device memory");
    if (to_device) expect_device(to, bytes, "a copy beyond device memory");
    if (bytes > 0) std::memcpy(to, staged ? staged->data() : from, bytes);
  });
  // And written before it does.
  if (!to_device && where(to) != Where::pinned) run_everything();
  return cudaSuccess;
}

cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
  expect_no_capture("cudaMemcpy");
  run_everything();
  std::lock_guard guard(lock());
  if (kind != cudaMemcpyHostToDevice)
    expect_device(from, bytes, "a copy from beyond device memory");
  if (kind != cudaMemcpyDeviceToHost) expect_device(to, bytes, "a copy beyond device memory");
  if (bytes > 0) std::memcpy(to, from, bytes);
  return cudaSuccess;
}

cudaError_t cudaMemsetAsync(void* data, int value, size_t bytes, cudaStream_t stream) {
  static const char what = 0;
  submit(stream, &what, [=] {
    expect_device(data, bytes, "a fill beyond device memory");
    if (bytes > 0) std::memset(data, value, bytes);
  });
  return cudaSuccess;
}

cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
  std::lock_guard guard(lock());
  *total = total_memory();
  *free = *total - std::min(*total, memory().used + memory().spared);
  return cudaSuccess;
}

cudaError_t cudaDeviceGetDefaultMemPool(cudaMemPool_t* pool, int) {
  static Pool only;
  *pool = &only;
  return cudaSuccess;
}

cudaError_t cudaMemPoolSetAttribute(cudaMemPool_t, cudaMemPoolAttr attribute, void*) {
  std::lock_guard guard(lock());
  if (attribute == cudaMemPoolAttrUsedMemHigh) memory().peak = memory().used;
  return cudaSuccess;
}

cudaError_t cudaMemPoolGetAttribute(cudaMemPool_t, cudaMemPoolAttr attribute, void* value) {
  std::lock_guard guard(lock());
  const Memory& m = memory();
  const uint64_t result = attribute == cudaMemPoolAttrUsedMemHigh          ? m.peak
                          : attribute == cudaMemPoolAttrReservedMemCurrent ? m.used + m.spared
                                                                           : m.used;
  std::memcpy(value, &result, sizeof result);
  return cudaSuccess;
}

cudaError_t cudaMemPoolTrimTo(cudaMemPool_t, size_t) {
  std::lock_guard guard(lock());
  for (auto& [bytes, blocks] : memory().spare) {
    for (unsigned char* block : blocks) std::free(block - kMargin);
    blocks.clear();
  }
  memory().freed.clear();
  memory().spared = 0;
  return cudaSuccess;
}
