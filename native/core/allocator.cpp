#include "core/allocator.h"

#if defined(__linux__)
#include <sys/mman.h>
#elif defined(_WIN32)
#include <malloc.h>
#endif

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <mutex>
#include <new>
#include <stdexcept>
#include <string>
#include <vector>

#include "core/available_memory.h"

namespace fused_rnn {
namespace {

constexpr size_t kAlignment = 64;
constexpr size_t kCacheFloor = size_t{256} << 20;

struct SizeClass {
  size_t bytes;
  size_t index;
};

// Multiples of kAlignment up to 16, from there eight classes per doubling: at most one eighth of a
// block is unused.
SizeClass size_class(size_t bytes) {
  const size_t units = std::max<size_t>((bytes + kAlignment - 1) / kAlignment, 1);
  const int shift = units < 16 ? 0 : std::bit_width(units) - 4;
  const size_t steps = (units + (size_t{1} << shift) - 1) >> shift;  // 8 to 16 when shift > 0
  return {(steps << shift) * kAlignment, static_cast<size_t>(shift) * 8 + steps};
}

constexpr size_t kClasses = 64 * 8;

constexpr size_t kHugePage = size_t{2} << 20;

// `bytes`: a multiple of `alignment`.
void* aligned_block(size_t alignment, size_t bytes) {
#if defined(_WIN32)
  return _aligned_malloc(bytes, alignment);
#else
  return std::aligned_alloc(alignment, bytes);
#endif
}

void system_free(void* block) {
#if defined(_WIN32)
  _aligned_free(block);
#else
  std::free(block);
#endif
}

// Large blocks lie in huge pages where the system has them: products walk through many rows at
// once, and would need more small pages than the processor keeps track of.
void* system_allocate(size_t bytes) {
  if (bytes < kHugePage) return aligned_block(kAlignment, bytes);
  void* block = aligned_block(kHugePage, (bytes + kHugePage - 1) / kHugePage * kHugePage);
#if defined(__linux__)
  if (block != nullptr) madvise(block, bytes, MADV_HUGEPAGE);
#endif
  return block;
}

struct Cache {
  std::mutex mutex;
  std::array<std::vector<void*>, kClasses> free_blocks;  // by index of the class
  MemoryStats stats{};
  size_t unchecked = 0;  // bytes taken from the system since it was asked what it has left
};

// Never destroyed: worker threads of other environments may outlive static destructors.
Cache& cache() {
  static Cache* instance = new Cache;
  return *instance;
}

// Linux promises more memory than it has and kills a process that uses it. So what is taken is held
// against what there is: large requests, and small ones whenever they have become as much.
constexpr size_t kCheckEvery = size_t{64} << 20;
// Left to JavaScript and to others.
constexpr size_t kReserve = size_t{128} << 20;

bool available(size_t bytes) {
  const size_t there = available_memory();
  return there > kReserve && there - kReserve >= bytes;
}

// Whether that many bytes may be taken from the system.
bool may_take(Cache& c, size_t bytes) {
  const size_t held = c.stats.live_bytes + c.stats.cached_bytes;
  if (held > host_memory_limit() || host_memory_limit() - held < bytes) return false;
  if (bytes < kCheckEvery && c.unchecked < kCheckEvery) {
    c.unchecked += bytes;
    return true;
  }
  if (!available(bytes)) return false;
  c.unchecked = 0;
  return true;
}

// Set when not even a request below kCheckEvery could be met.
std::atomic<bool> exhausted{false};
std::atomic<uint64_t> failures{0};

void release_cached(Cache& c) {
  for (auto& blocks : c.free_blocks) {
    for (void* block : blocks) system_free(block);
    blocks.clear();
  }
  c.stats.cached_bytes = 0;
}

[[noreturn]] void out_of_memory(size_t bytes, size_t live, const std::string& prefix = "") {
  throw std::runtime_error(prefix + "out of memory: could not allocate " + std::to_string(bytes) +
                           " bytes (" + std::to_string(live) + " in use)");
}

}  // namespace

size_t host_memory_limit() {
  static const size_t limit = [] {
    const char* text = std::getenv("FUSED_RNN_MEMORY_LIMIT");
    if (text == nullptr || *text == '\0') return std::numeric_limits<size_t>::max();
    char* end;
    const double bytes = std::strtod(text, &end);
    if (*end != '\0' || !(bytes >= 0 && bytes < 0x1p63)) {
      throw std::runtime_error(
          std::string("FUSED_RNN_MEMORY_LIMIT: expected a number of bytes, got ") + text);
    }
    return static_cast<size_t>(bytes);
  }();
  return limit;
}

void host_check_available(const char* op, size_t bytes) {
  if (bytes >= kCheckEvery && !available(bytes)) {
    out_of_memory(bytes, host_memory_stats().live_bytes, "[" + std::string(op) + "] ");
  }
}

void host_check_room(size_t bytes) {
  const size_t live = host_memory_stats().live_bytes;
  const size_t limit = host_memory_limit();
  if (live > limit || limit - live < bytes || (bytes >= kCheckEvery && !available(bytes))) {
    out_of_memory(bytes, live);
  }
}

void* host_allocate(size_t bytes) {
  const auto [size, index] = size_class(bytes);
  Cache& c = cache();
  std::lock_guard lock(c.mutex);
  void* block = nullptr;
  auto& blocks = c.free_blocks[index];
  if (!blocks.empty()) {
    block = blocks.back();
    blocks.pop_back();
    c.stats.cached_bytes -= size;
  } else {
    if (may_take(c, size)) block = system_allocate(size);
    if (block == nullptr) {
      release_cached(c);
      if (may_take(c, size)) block = system_allocate(size);
    }
    if (block == nullptr) {
      if (size < kCheckEvery) exhausted = true;
      failures += 1;
      out_of_memory(bytes, c.stats.live_bytes);
    }
  }
  c.stats.live_bytes += size;
  c.stats.live_blocks += 1;
  c.stats.peak_bytes = std::max(c.stats.peak_bytes, c.stats.live_bytes);
  return block;
}

void host_free(void* data, size_t bytes) noexcept {
  const auto [size, index] = size_class(bytes);
  Cache& c = cache();
  std::lock_guard lock(c.mutex);
  c.stats.live_bytes -= size;
  c.stats.live_blocks -= 1;
  // The cache may hold as much again as is live, so that one large model that has gone does not
  // stay in memory for ever.
  if (c.stats.cached_bytes + size > std::max(kCacheFloor, c.stats.live_bytes)) {
    system_free(data);
    return;
  }
  try {
    c.free_blocks[index].push_back(data);
    c.stats.cached_bytes += size;
  } catch (const std::bad_alloc&) {
    system_free(data);
  }
}

uint64_t host_failures() { return failures.load(std::memory_order_relaxed); }

bool host_exhausted() {
  if (!exhausted.load(std::memory_order_relaxed)) return false;
  Cache& c = cache();
  std::lock_guard lock(c.mutex);
  // What the cache holds is there to be used again, or to be given back.
  const size_t limit = host_memory_limit();
  const size_t room = std::min(kCheckEvery, limit / 4);
  const bool below_limit = limit >= c.stats.live_bytes && limit - c.stats.live_bytes >= room;
  if (below_limit && (c.stats.cached_bytes >= room || available(room))) exhausted = false;
  return exhausted;
}

MemoryStats host_memory_stats() {
  Cache& c = cache();
  std::lock_guard lock(c.mutex);
  return c.stats;
}

}  // namespace fused_rnn
