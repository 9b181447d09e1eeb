// The devices of the host's CUDA, its errors, and what the other files share.
#include <cstdio>
#include <cstdlib>
#include <map>
#include <utility>
#include <vector>

#include "cuda_host/internal.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

namespace cuda_host {
namespace {

#if defined(__x86_64__)
[[maybe_unused]] constexpr int kAddressBits = 47;
#else
[[maybe_unused]] constexpr int kAddressBits = 48;
#endif
// FUSED_RNN_CUDA_HOST_MULTIPROCESSORS: for launches of more blocks at once than fit these.
size_t multiprocessors() {
  static const char* text = std::getenv("FUSED_RNN_CUDA_HOST_MULTIPROCESSORS");
  static const size_t count = text != nullptr ? std::strtoul(text, nullptr, 10) : 4;
  return count;
}

thread_local cudaError_t last_error = cudaSuccess;
thread_local int current_device = 0;

int device_count() {
  const char* text = std::getenv("FUSED_RNN_CUDA_HOST_DEVICES");
  return text != nullptr ? std::atoi(text) : 2;
}

// FUSED_RNN_CUDA_HOST_L2: the bytes of a cache that is another than an H100's.
int cache_bytes() {
  static const char* text = std::getenv("FUSED_RNN_CUDA_HOST_L2");
  return text != nullptr ? std::atoi(text) : 50 << 20;
}

// FUSED_RNN_CUDA_HOST_REFUSE: the number of the error with which every launch of a whole grid
// fails.
cudaError_t refusal() {
  static const char* text = std::getenv("FUSED_RNN_CUDA_HOST_REFUSE");
  return static_cast<cudaError_t>(text != nullptr ? std::atoi(text) : 0);
}

// On a multiprocessor, but for registers.
size_t blocks_at_once(size_t threads, size_t shared) {
  return std::min<size_t>({32, 2048 / threads, kMostShared / std::max<size_t>(shared, 1)});
}

// FUSED_RNN_CUDA_HOST_CAPABILITY: 80 for the compute capability 8.0.
int capability() {
  const char* text = std::getenv("FUSED_RNN_CUDA_HOST_CAPABILITY");
  return text != nullptr ? std::atoi(text) : 90;
}

// What every device with clusters can have.
constexpr unsigned kMostBlocksOfCluster = 8;

bool has_clusters_of(unsigned blocks) {
  return capability() >= 90 && blocks <= kMostBlocksOfCluster;
}

// By kernel, where cudaFuncSetAttribute said so.
std::map<const void*, size_t>& dynamic_limits() {
  static auto* instance = new std::map<const void*, size_t>;
  return *instance;
}

}  // namespace

std::recursive_mutex& lock() {
  static auto* mutex = new std::recursive_mutex;  // threads may outlive static destructors
  return *mutex;
}

std::minstd_rand& dice() {
  static auto* generator = [] {
    const char* text = std::getenv("FUSED_RNN_CUDA_HOST_SEED");
    return new std::minstd_rand(text != nullptr ? static_cast<unsigned>(std::atoi(text)) : 1u);
  }();
  return *generator;
}

namespace {

std::vector<std::atomic<bool>*>& open_libraries() {
  static auto* instance = new std::vector<std::atomic<bool>*>;
  return *instance;
}

}  // namespace

constinit UntilExit driver;

void UntilExit::open() {
  if (opened_.exchange(true)) return;
  std::lock_guard guard(lock());
  open_libraries().push_back(&gone_);
  // Handlers take no argument: each ends the library that was opened last of those that are there.
  std::atexit([] {
    *open_libraries().back() = true;
    open_libraries().pop_back();
  });
}

void UntilExit::expect(const char* call) const {
  if (!gone_) return;
  char text[128];
  std::snprintf(text, sizeof text, "%s at the end of the process, after what it needs has gone",
                call);
  die(text);
}

cudaError_t set_error(cudaError_t error) {
  last_error = error;
  return error;
}

void die(const char* text) {
  std::fprintf(stderr, "cuda_host: %s\n", text);
  std::abort();
}

void check_argument(const void* argument, size_t bytes, const char* kernel) {
  // Sizes and seeds are smaller or nowhere near memory that is there.
#if defined(__SANITIZE_ADDRESS__)
  // Below are the sanitizer's own tables, which seem to be memory everywhere.
  size_t scale, begin;
  __asan_get_shadow_mapping(&scale, &begin);
  const uint64_t small = begin + (uint64_t{1} << kAddressBits >> scale);
#else
  const uint64_t small = uint64_t{1} << 32;
#endif
  for (size_t at = 0; at + 8 <= bytes; at += 8) {
    uint64_t word;
    std::memcpy(&word, static_cast<const char*>(argument) + at, sizeof word);
    if (word < small) continue;
    const auto* address = reinterpret_cast<const void*>(word);
    const Where place = where(address);
    if (place == Where::device || place == Where::pinned) continue;
    const bool freed = place == Where::freed_device;
    if (!freed && !is_mapped(address)) continue;
    char text[2048];
    std::snprintf(text, sizeof text, "a kernel got a pointer to %s memory: %s",
                  freed ? "freed device" : "host", kernel);
    die(text);
  }
}

namespace {

// How many calls still succeed, how many fail then, and how many have.
struct Failures {
  int after = 0, count = 0, failed = 0;
};
Failures failures[5];

}  // namespace

int fail_from(Call call, int n, int count) {
  std::lock_guard guard(lock());
  const Failures next = n == 0 ? Failures{} : Failures{n - 1, count};
  return std::exchange(failures[static_cast<int>(call)], next).failed;
}

bool fails(Call call) {
  std::lock_guard guard(lock());
  Failures& f = failures[static_cast<int>(call)];
  if (f.count == 0) return false;
  if (f.after > 0) {
    f.after -= 1;
    return false;
  }
  f.count -= 1;
  f.failed += 1;
  return true;
}

bool check_launch(dim3 grid, dim3 block, size_t shared, bool whole, unsigned cluster,
                  const void* kernel) {
  std::lock_guard guard(lock());
  if (fails(Call::launch)) {
    set_error(cudaErrorLaunchOutOfResources);
    return false;
  }
  const auto more = dynamic_limits().find(kernel);
  const size_t most = more == dynamic_limits().end() ? kMostStaticShared : more->second;
  const size_t threads = size_t{block.x} * block.y * block.z;
  const bool fine = threads >= 1 && threads <= 1024 && block.z <= 64 && grid.x <= 0x7fffffffu &&
                    grid.x > 0 && grid.y > 0 && grid.z > 0 && grid.y <= 65535 && grid.z <= 65535 &&
                    shared <= most;
  const bool fine_cluster =
      cluster == 0 || (whole && grid.x % cluster == 0 && has_clusters_of(cluster));
  if (!fine || !fine_cluster) {
    set_error(cudaErrorInvalidConfiguration);
    return false;
  }
  if (whole && refusal() != cudaSuccess) {
    set_error(refusal());
    return false;
  }
  const size_t at_once = multiprocessors() * blocks_at_once(threads, shared);
  if (whole && (fails(Call::launch_together) || size_t{grid.x} * grid.y * grid.z > at_once)) {
    set_error(cudaErrorCooperativeLaunchTooLarge);
    return false;
  }
  return true;
}

}  // namespace cuda_host

using namespace cuda_host;

cudaError_t cudaGetLastError() { return std::exchange(last_error, cudaSuccess); }
cudaError_t cudaPeekAtLastError() { return last_error; }

const char* cudaGetErrorName(cudaError_t error) {
  switch (error) {
    case cudaSuccess:
      return "cudaSuccess";
    case cudaErrorInvalidValue:
      return "cudaErrorInvalidValue";
    case cudaErrorMemoryAllocation:
      return "cudaErrorMemoryAllocation";
    case cudaErrorInvalidConfiguration:
      return "cudaErrorInvalidConfiguration";
    case cudaErrorInsufficientDriver:
      return "cudaErrorInsufficientDriver";
    case cudaErrorNoDevice:
      return "cudaErrorNoDevice";
    case cudaErrorInvalidDevice:
      return "cudaErrorInvalidDevice";
    case cudaErrorNotReady:
      return "cudaErrorNotReady";
    case cudaErrorLaunchOutOfResources:
      return "cudaErrorLaunchOutOfResources";
    case cudaErrorCooperativeLaunchTooLarge:
      return "cudaErrorCooperativeLaunchTooLarge";
    case cudaErrorNotPermitted:
      return "cudaErrorNotPermitted";
    case cudaErrorNotSupported:
      return "cudaErrorNotSupported";
    case cudaErrorStreamCaptureUnjoined:
      return "cudaErrorStreamCaptureUnjoined";
    case cudaErrorGraphExecUpdateFailure:
      return "cudaErrorGraphExecUpdateFailure";
  }
  return "unknown";
}

const char* cudaGetErrorString(cudaError_t error) {
  return error == cudaErrorMemoryAllocation ? "out of memory" : cudaGetErrorName(error);
}

cudaError_t cudaDriverGetVersion(int* version) {
  const char* text = std::getenv("FUSED_RNN_CUDA_HOST_DRIVER");
  *version = text != nullptr ? std::atoi(text) : 13000;
  return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = 13000;
  return cudaSuccess;
}

cudaError_t cudaGetDeviceCount(int* count) {
  int version;
  cudaDriverGetVersion(&version);
  driver.open();
  *count = version < 13000 ? 0 : device_count();
  if (version < 13000) return set_error(cudaErrorInsufficientDriver);
  return *count > 0 ? cudaSuccess : set_error(cudaErrorNoDevice);
}

cudaError_t cudaGetDevice(int* device) {
  *device = current_device;
  return cudaSuccess;
}

cudaError_t cudaSetDevice(int device) {
  if (device < 0 || device >= device_count()) return set_error(cudaErrorInvalidDevice);
  current_device = device;
  return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device) {
  if (device < 0 || device >= device_count()) return set_error(cudaErrorInvalidDevice);
  switch (attribute) {
    case cudaDevAttrMultiProcessorCount:
      *value = static_cast<int>(multiprocessors());
      return cudaSuccess;
    case cudaDevAttrL2CacheSize:
      *value = cache_bytes();
      return cudaSuccess;
    case cudaDevAttrCooperativeLaunch:
      *value = 1;
      return cudaSuccess;
    case cudaDevAttrClusterLaunch:
      *value = capability() >= 90;
      return cudaSuccess;
  }
  return set_error(cudaErrorInvalidValue);
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  if (device < 0 || device >= device_count()) return set_error(cudaErrorInvalidDevice);
  *properties = {};
  std::snprintf(properties->name, sizeof properties->name, "CUDA on the host");
  size_t free;
  cudaMemGetInfo(&free, &properties->totalGlobalMem);
  properties->major = capability() / 10;
  properties->minor = capability() % 10;
  properties->memoryPoolsSupported = std::getenv("FUSED_RNN_CUDA_HOST_NO_POOLS") == nullptr;
  properties->multiProcessorCount = static_cast<int>(multiprocessors());
  properties->sharedMemPerBlock = kMostStaticShared;
  properties->sharedMemPerBlockOptin = kMostShared;
  return cudaSuccess;
}

cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, const void*, int threads,
                                                          size_t shared) {
  *blocks = static_cast<int>(blocks_at_once(static_cast<size_t>(threads), shared));
  return cudaSuccess;
}

cudaError_t cudaOccupancyMaxActiveClusters(int* clusters, const void*,
                                           const cudaLaunchConfig_t* config) {
  unsigned of_cluster = 1;
  for (unsigned i = 0; i < config->numAttrs; ++i) {
    const cudaLaunchAttribute& a = config->attrs[i];
    if (a.id == cudaLaunchAttributeClusterDimension) of_cluster = a.val.clusterDim.x;
  }
  if (!has_clusters_of(of_cluster)) return set_error(cudaErrorInvalidConfiguration);
  const size_t blocks =
      multiprocessors() * blocks_at_once(config->blockDim.x, config->dynamicSmemBytes);
  *clusters = static_cast<int>(blocks / of_cluster);
  return cudaSuccess;
}

cudaError_t cudaFuncSetAttribute(const void* kernel, cudaFuncAttribute, int value) {
  if (value < 0 || static_cast<size_t>(value) > kMostShared) {
    return set_error(cudaErrorInvalidValue);
  }
  std::lock_guard guard(lock());
  dynamic_limits()[kernel] = static_cast<size_t>(value);
  return cudaSuccess;
}
