// Cooperative launches: all blocks are resident on the device at once, so that they may wait for
// each other, as those of the persistent kernels do (rnn/persistent.h).
#pragma once

#include <stdexcept>
#include <string>
#include <tuple>

#include "cuda/device/runtime.h"

#if defined(__CUDACC__)
#include <cooperative_groups.h>
#endif

namespace fused_rnn::cuda {

// A device refuses a launch whose blocks all have to be resident at once, although they should fit:
// it may be shared with other processes. Nothing has been queued, and other launches may succeed.
struct LaunchRefused : std::runtime_error {
  const void* kernel;
  LaunchRefused(cudaError_t error, const void* kernel)
      : std::runtime_error(std::string("kernel launch: ") + cudaGetErrorString(error)),
        kernel(kernel) {}
};

inline bool is_refusal(cudaError_t error) {
  return error == cudaErrorCooperativeLaunchTooLarge || error == cudaErrorLaunchOutOfResources ||
         error == cudaErrorNotPermitted || error == cudaErrorNotSupported;
}

inline void check_together(cudaError_t error, const void* kernel) {
  if (is_refusal(error)) throw LaunchRefused(error, kernel);
  check(error, "kernel launch");
}

#if defined(__CUDACC__) || defined(FUSED_RNN_CUDA_HOST)
// As launch(). Throws LaunchRefused when the blocks do not all fit at once; what should fit is
// cudaOccupancyMaxActiveBlocksPerMultiprocessor's answer for each multiprocessor.
template <class... P, class... A>
void launch_together(void (*kernel)(P...), dim3 grid, dim3 block, size_t shared,
                     cudaStream_t stream, A... args) {
#if defined(__CUDACC__)
  std::tuple<P...> values(static_cast<P>(args)...);
  std::apply(
      [&](P&... value) {
        void* pointers[] = {&value...};
        cudaLaunchCooperativeKernel(kernel, grid, block, pointers, shared, stream);
      },
      values);
#else
  ::cuda_host::queue_kernel(kernel, grid, block, shared, stream, true, 0, static_cast<P>(args)...);
#endif
  check_together(cudaGetLastError(), reinterpret_cast<const void*>(kernel));
}

// By all threads of a launch_together(): what they wrote before is seen after it.
__device__ inline void grid_sync() {
#if defined(__CUDACC__)
  cooperative_groups::this_grid().sync();
#else
  ::cuda_host::grid_barrier();
#endif
}
#endif

}  // namespace fused_rnn::cuda
