// What every file in cuda/ builds on. The .cu files are compiled twice: by nvcc, against CUDA, and
// by the C++ compiler, against native/cuda_host, which runs them on the host for the tests. So they
// use of CUDA only what both have: what this header gives, threadIdx and its like, __syncthreads,
// warp shuffles and votes, atomics.
#pragma once

#include <cuda_runtime.h>  // CUDA's, or native/cuda_host's

#include <algorithm>
#include <cstdint>
#include <type_traits>

#if defined(__CUDACC__)
// An array in shared memory.
#define FUSED_RNN_SHARED(type, name, count) __shared__ type name[count]
// The shared memory whose size the launch gives; one such array per kernel.
#define FUSED_RNN_DYNAMIC_SHARED(type, name)                    \
  extern __shared__ __align__(16) unsigned char name##_bytes[]; \
  type* const name = reinterpret_cast<type*>(name##_bytes)
#else
#define FUSED_RNN_SHARED(type, name, count) \
  type* const name = ::cuda_host::shared_array<type, __COUNTER__>(count)
#define FUSED_RNN_DYNAMIC_SHARED(type, name) \
  type* const name = static_cast<type*>(::cuda_host::dynamic_shared())
#endif

namespace fused_rnn::cuda {

// Throws std::runtime_error "what: CUDA's message" unless the call succeeded.
void check(cudaError_t error, const char* what);

constexpr int kWarp = 32;

// Blocks for n elements, one thread each, but at most `most`: kernels loop by grid_stride().
constexpr int kBlock = 256;
inline dim3 blocks_for(int64_t n, int64_t most = 4096) {
  return dim3(static_cast<unsigned>(std::clamp<int64_t>((n + kBlock - 1) / kBlock, 0, most)));
}

#if defined(__CUDACC__) || defined(FUSED_RNN_CUDA_HOST)
// kernel<<<grid, block, shared bytes, stream>>>(args…); nothing for an empty grid.
template <class... P, class... A>
void launch(void (*kernel)(P...), dim3 grid, dim3 block, size_t shared, cudaStream_t stream,
            A... args) {
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) return;
#if defined(__CUDACC__)
  kernel<<<grid, block, shared, stream>>>(static_cast<P>(args)...);
#else
  ::cuda_host::queue_kernel(kernel, grid, block, shared, stream, false, 0, static_cast<P>(args)...);
#endif
  check(cudaGetLastError(), "kernel launch");
}

__device__ inline int64_t global_thread() {
  return static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
}
__device__ inline int64_t grid_stride() { return static_cast<int64_t>(gridDim.x) * blockDim.x; }

// Over a whole warp, every lane gets the result.
template <class T, class F>
__device__ inline T warp_reduce(T x, F combine) {
  for (int offset = kWarp / 2; offset > 0; offset /= 2) {
    x = combine(x, __shfl_xor_sync(0xffffffffu, x, offset));
  }
  return x;
}

// Over a whole block of a multiple of kWarp threads, every thread gets the result; in a fixed
// order. `scratch`: shared, kWarp elements, free again afterwards.
template <class T, class F>
__device__ inline T block_reduce(T x, std::type_identity_t<T> nothing, T* scratch, F combine) {
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  x = warp_reduce(x, combine);
  if (lane == 0) scratch[warp] = x;
  __syncthreads();
  x = lane < static_cast<int>(blockDim.x) / kWarp ? scratch[lane] : nothing;
  x = warp_reduce(x, combine);
  __syncthreads();
  return x;
}
#endif

}  // namespace fused_rnn::cuda
