// CUDA on the host: the runtime calls, launches and device functions that native/cuda uses, under
// their own names, so that the very same .cu files compile with a C++ compiler and run under the
// tests on any machine. It is slow, and stricter than hardware:
//
// - What is queued runs only when somebody waits, in a random order that the streams and events
//   allow. The threads of a block, and the blocks of a grid, run in random order between barriers.
//   FUSED_RNN_CUDA_HOST_SEED gives another order. Of a grid's blocks three are there at a time.
// - Device memory and shared memory begin as NaN, and are NaN again when they are freed. Memory
//   around an allocation is watched; built with AddressSanitizer every access is.
// - A pointer to host memory among a kernel's arguments, work on the default stream, a barrier that
//   some threads of a block do not reach, a call after the driver has gone at the end of the
//   process, and the like, end the process with a message.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <source_location>
#include <type_traits>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __grid_constant__
#define __launch_bounds__(...)

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

enum cudaError_t {
  cudaSuccess = 0,
  cudaErrorInvalidValue = 1,
  cudaErrorMemoryAllocation = 2,
  cudaErrorInvalidConfiguration = 9,
  cudaErrorInsufficientDriver = 35,
  cudaErrorNoDevice = 100,
  cudaErrorInvalidDevice = 101,
  cudaErrorNotReady = 600,
  cudaErrorLaunchOutOfResources = 701,
  cudaErrorCooperativeLaunchTooLarge = 720,
  cudaErrorNotPermitted = 800,
  cudaErrorNotSupported = 801,
  cudaErrorStreamCaptureUnjoined = 904,
  cudaErrorGraphExecUpdateFailure = 910,
};

namespace cuda_host {
struct Stream;
struct Event;
struct Graph;
struct GraphExec;
struct Pool;

// What queued work is: `what` tells kernels and kinds of copies apart where graphs are compared.
void submit(Stream* stream, const void* what, std::function<void()> run);

// Ends the process: `text` says what is wrong.
[[noreturn]] void die(const char* text);

// Dies if 8-byte words of an argument point to host memory that the device cannot reach, or to
// device memory that has been freed.
void check_argument(const void* argument, size_t bytes, const char* kernel);
// False, with the error set, for sizes that a device would not launch. `cluster`: blocks of one, or
// 0.
bool check_launch(dim3 grid, dim3 block, size_t shared, bool whole, unsigned cluster,
                  const void* kernel);

// Runs all blocks, a few at a time or the whole grid at once; `thread` is one thread.
void run_grid(dim3 grid, dim3 block, size_t shared, bool whole, unsigned cluster,
              const std::function<void()>& thread);

template <class T>
void check_argument_of(T argument, const char* kernel) {
#if defined(__has_builtin)
#if __has_builtin(__builtin_clear_padding)
  // What lies between members may look like anything.
  __builtin_clear_padding(&argument);
#endif
#endif
  check_argument(&argument, sizeof argument, kernel);
}

template <class... P, class... A>
void queue_kernel(void (*kernel)(P...), dim3 grid, dim3 block, size_t shared, Stream* stream,
                  bool whole, unsigned cluster, A... args) {
  const void* what = reinterpret_cast<const void*>(kernel);
  if (!check_launch(grid, block, shared, whole, cluster, what)) return;
  const char* name = __PRETTY_FUNCTION__;
  submit(stream, what, [=] {
    (check_argument_of(args, name), ...);
    run_grid(grid, block, shared, whole, cluster, [&] { kernel(args...); });
  });
}

// The thread of the block that runs now.
struct Position {
  dim3 thread, block, block_size, grid_size;
  bool whole_grid;  // all blocks run at once
};
extern Position position;
int lane();

// The number of threads that came with a predicate.
int block_barrier(int predicate, std::source_location where);
// Between all blocks of a launch of the whole grid.
void grid_barrier();
// Between all blocks of a cluster, in a launch of clusters.
int cluster_rank();
void cluster_arrive();
void cluster_wait();
// Where the block of that rank has what is at `own` in this block's shared memory.
void* shared_of_rank(void* own, int rank);
// In a thread that polls for what another one writes, as in a loop over __nanosleep.
void let_others_run();

enum class WarpCall { shuffle, vote, barrier, product };
// Waits until the lanes of `mask` are here, each with a value. Returns that of lane `source`; for a
// vote a bit for each lane that came with one that is not 0.
uint64_t exchange(WarpCall call, unsigned mask, uint64_t value, int source);

// What mma.sync does with tiles of words (cuda/rnn/mma.h), of a number in TF32 or of two in
// bfloat16, some after each other: sums += a b, by all lanes of a warp.
struct TileProduct {
  float* sums;        // 4
  const uint32_t* a;  // 4
  const uint32_t* b;  // 2
};
constexpr int kMostTileProducts = 32;
void multiply_tiles(const TileProduct* products, int count, int of_word);

void* shared_memory(const void* key, size_t bytes);
void* dynamic_shared();
// `id` differs for each array of a file.
template <class T, int id>
T* shared_array(size_t count) {
  static const char key = 0;
  return static_cast<T*>(shared_memory(&key, count * sizeof(T)));
}

template <class T>
T from_lane(unsigned mask, T value, int source) {
  static_assert(sizeof(T) <= 8);
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof value);
  bits = exchange(WarpCall::shuffle, mask, bits, source);
  std::memcpy(&value, &bits, sizeof value);
  return value;
}
}  // namespace cuda_host

// ---- Device code ----

inline constexpr const dim3& threadIdx = ::cuda_host::position.thread;
inline constexpr const dim3& blockIdx = ::cuda_host::position.block;
inline constexpr const dim3& blockDim = ::cuda_host::position.block_size;
inline constexpr const dim3& gridDim = ::cuda_host::position.grid_size;

inline void __syncthreads(std::source_location where = std::source_location::current()) {
  ::cuda_host::block_barrier(0, where);
}
inline int __syncthreads_count(int predicate,
                               std::source_location where = std::source_location::current()) {
  return ::cuda_host::block_barrier(predicate, where);
}
inline int __syncthreads_or(int predicate,
                            std::source_location where = std::source_location::current()) {
  return ::cuda_host::block_barrier(predicate, where) > 0;
}
inline int __syncthreads_and(int predicate,
                             std::source_location where = std::source_location::current()) {
  return ::cuda_host::block_barrier(predicate == 0, where) == 0;
}
inline void __syncwarp(unsigned mask = 0xffffffffu) {
  ::cuda_host::exchange(::cuda_host::WarpCall::barrier, mask, 0, ::cuda_host::lane());
}
inline void __threadfence() {}
inline void __threadfence_block() {}
inline void __threadfence_system() {}
inline void __nanosleep(unsigned) { ::cuda_host::let_others_run(); }

template <class T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32) {
  const int first = ::cuda_host::lane() / width * width;
  return ::cuda_host::from_lane(mask, value, first + (source & (width - 1)));
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int bits) {
  return ::cuda_host::from_lane(mask, value, ::cuda_host::lane() ^ bits);
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, int delta) {
  const int lane = ::cuda_host::lane();
  return ::cuda_host::from_lane(mask, value, lane >= delta ? lane - delta : lane);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, int delta) {
  const int lane = ::cuda_host::lane();
  return ::cuda_host::from_lane(mask, value, lane + delta < 32 ? lane + delta : lane);
}
inline unsigned __ballot_sync(unsigned mask, int predicate) {
  return static_cast<unsigned>(::cuda_host::exchange(::cuda_host::WarpCall::vote, mask,
                                                     predicate != 0, ::cuda_host::lane()));
}
inline int __any_sync(unsigned mask, int predicate) { return __ballot_sync(mask, predicate) != 0; }
inline int __all_sync(unsigned mask, int predicate) {
  return __ballot_sync(mask, predicate == 0) == 0;
}
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __clz(int x) { return x == 0 ? 32 : __builtin_clz(static_cast<unsigned>(x)); }

// Only one thread runs at a time.
template <class T>
T atomicCAS(T* address, std::type_identity_t<T> expected, std::type_identity_t<T> value) {
  const T old = *address;
  if (old == expected) *address = value;
  return old;
}
template <class T>
T atomicAdd(T* address, std::type_identity_t<T> value) {
  const T old = *address;
  *address += value;
  return old;
}
template <class T>
T atomicMax(T* address, std::type_identity_t<T> value) {
  const T old = *address;
  if (value > old) *address = value;
  return old;
}
template <class T>
T atomicMin(T* address, std::type_identity_t<T> value) {
  const T old = *address;
  if (value < old) *address = value;
  return old;
}
template <class T>
T atomicExch(T* address, std::type_identity_t<T> value) {
  const T old = *address;
  *address = value;
  return old;
}

struct alignas(16) float4 {
  float x, y, z, w;
};
struct alignas(8) float2 {
  float x, y;
};
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float rsqrtf(float x) { return 1.0f / std::sqrt(x); }
template <class T>
T __ldg(const T* address) {
  return *address;
}
using std::max;
using std::min;

// ---- The runtime ----

using cudaStream_t = cuda_host::Stream*;
using cudaEvent_t = cuda_host::Event*;
using cudaGraph_t = cuda_host::Graph*;
using cudaGraphExec_t = cuda_host::GraphExec*;
using cudaMemPool_t = cuda_host::Pool*;

enum cudaMemcpyKind {
  cudaMemcpyHostToHost,
  cudaMemcpyHostToDevice,
  cudaMemcpyDeviceToHost,
  cudaMemcpyDeviceToDevice,
  cudaMemcpyDefault
};
enum cudaStreamCaptureMode {
  cudaStreamCaptureModeGlobal,
  cudaStreamCaptureModeThreadLocal,
  cudaStreamCaptureModeRelaxed
};
enum cudaMemPoolAttr {
  cudaMemPoolAttrReleaseThreshold,
  cudaMemPoolAttrReservedMemCurrent,
  cudaMemPoolAttrUsedMemCurrent,
  cudaMemPoolAttrUsedMemHigh
};
constexpr unsigned cudaStreamNonBlocking = 1;
constexpr unsigned cudaEventDisableTiming = 2;
constexpr unsigned cudaHostAllocDefault = 0;
constexpr unsigned cudaHostAllocPortable = 1;
constexpr unsigned cudaHostAllocMapped = 2;

struct cudaDeviceProp {
  char name[256];
  size_t totalGlobalMem;
  int major, minor;
  int multiProcessorCount;
  size_t sharedMemPerBlock;
  size_t sharedMemPerBlockOptin;
  int memoryPoolsSupported;
};
enum cudaDeviceAttr {
  cudaDevAttrMultiProcessorCount = 16,
  cudaDevAttrL2CacheSize = 38,
  cudaDevAttrCooperativeLaunch = 95,
  cudaDevAttrClusterLaunch = 120
};
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize = 8 };
enum cudaLaunchAttributeID {
  cudaLaunchAttributeCooperative = 2,
  cudaLaunchAttributeClusterDimension = 4
};
struct cudaLaunchAttribute {
  cudaLaunchAttributeID id;
  union {
    int cooperative;
    struct {
      unsigned x, y, z;
    } clusterDim;
  } val;
};
struct cudaLaunchConfig_t {
  dim3 gridDim, blockDim;
  size_t dynamicSmemBytes;
  cudaStream_t stream;
  cudaLaunchAttribute* attrs;
  unsigned numAttrs;
};
struct cudaGraphExecUpdateResultInfo {
  int result;
};

cudaError_t cudaGetLastError();
cudaError_t cudaPeekAtLastError();
const char* cudaGetErrorString(cudaError_t error);
const char* cudaGetErrorName(cudaError_t error);

cudaError_t cudaDriverGetVersion(int* version);
cudaError_t cudaRuntimeGetVersion(int* version);
cudaError_t cudaGetDeviceCount(int* count);
cudaError_t cudaGetDevice(int* device);
cudaError_t cudaSetDevice(int device);
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device);
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device);
cudaError_t cudaDeviceSynchronize();

cudaError_t cudaFuncSetAttribute(const void* kernel, cudaFuncAttribute attribute, int value);
template <class... P>
cudaError_t cudaFuncSetAttribute(void (*kernel)(P...), cudaFuncAttribute attribute, int value) {
  return cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel), attribute, value);
}
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, const void* kernel,
                                                          int threads, size_t shared);
template <class... P>
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, void (*kernel)(P...),
                                                          int threads, size_t shared) {
  return cudaOccupancyMaxActiveBlocksPerMultiprocessor(
      blocks, reinterpret_cast<const void*>(kernel), threads, shared);
}
cudaError_t cudaOccupancyMaxActiveClusters(int* clusters, const void* kernel,
                                           const cudaLaunchConfig_t* config);
template <class... P>
cudaError_t cudaOccupancyMaxActiveClusters(int* clusters, void (*kernel)(P...),
                                           const cudaLaunchConfig_t* config) {
  return cudaOccupancyMaxActiveClusters(clusters, reinterpret_cast<const void*>(kernel), config);
}
// Clusters only where all blocks run at once.
template <class... P, class... A>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(P...),
                               A&&... args) {
  bool whole = false;
  unsigned cluster = 0;
  for (unsigned i = 0; i < config->numAttrs; ++i) {
    const cudaLaunchAttribute& a = config->attrs[i];
    if (a.id == cudaLaunchAttributeCooperative) whole = a.val.cooperative != 0;
    if (a.id == cudaLaunchAttributeClusterDimension) cluster = a.val.clusterDim.x;
  }
  cuda_host::queue_kernel(kernel, config->gridDim, config->blockDim, config->dynamicSmemBytes,
                          config->stream, whole, cluster, static_cast<P>(args)...);
  return cudaPeekAtLastError();
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags);
cudaError_t cudaStreamDestroy(cudaStream_t stream);
cudaError_t cudaStreamSynchronize(cudaStream_t stream);
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned flags = 0);
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags);
cudaError_t cudaEventDestroy(cudaEvent_t event);
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream);
cudaError_t cudaEventQuery(cudaEvent_t event);
cudaError_t cudaEventSynchronize(cudaEvent_t event);

cudaError_t cudaMallocAsync(void** data, size_t bytes, cudaStream_t stream);
cudaError_t cudaFreeAsync(void* data, cudaStream_t stream);
cudaError_t cudaMalloc(void** data, size_t bytes);
cudaError_t cudaFree(void* data);
template <class T>
cudaError_t cudaMallocAsync(T** data, size_t bytes, cudaStream_t stream) {
  return cudaMallocAsync(reinterpret_cast<void**>(data), bytes, stream);
}
template <class T>
cudaError_t cudaMalloc(T** data, size_t bytes) {
  return cudaMalloc(reinterpret_cast<void**>(data), bytes);
}
cudaError_t cudaHostAlloc(void** data, size_t bytes, unsigned flags);
template <class T>
cudaError_t cudaHostAlloc(T** data, size_t bytes, unsigned flags) {
  return cudaHostAlloc(reinterpret_cast<void**>(data), bytes, flags);
}
cudaError_t cudaFreeHost(void* data);
cudaError_t cudaHostGetDevicePointer(void** device, void* host, unsigned flags);
template <class T>
cudaError_t cudaHostGetDevicePointer(T** device, void* host, unsigned flags) {
  return cudaHostGetDevicePointer(reinterpret_cast<void**>(device), host, flags);
}
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream);
cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind kind);
cudaError_t cudaMemsetAsync(void* data, int value, size_t bytes, cudaStream_t stream);
cudaError_t cudaMemGetInfo(size_t* free, size_t* total);
cudaError_t cudaDeviceGetDefaultMemPool(cudaMemPool_t* pool, int device);
cudaError_t cudaMemPoolSetAttribute(cudaMemPool_t pool, cudaMemPoolAttr attribute, void* value);
cudaError_t cudaMemPoolGetAttribute(cudaMemPool_t pool, cudaMemPoolAttr attribute, void* value);
cudaError_t cudaMemPoolTrimTo(cudaMemPool_t pool, size_t bytes);

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode);
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph);
cudaError_t cudaGraphInstantiate(cudaGraphExec_t* exec, cudaGraph_t graph,
                                 unsigned long long flags);
cudaError_t cudaGraphExecUpdate(cudaGraphExec_t exec, cudaGraph_t graph,
                                cudaGraphExecUpdateResultInfo* info);
cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream);
cudaError_t cudaGraphDestroy(cudaGraph_t graph);
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec);
