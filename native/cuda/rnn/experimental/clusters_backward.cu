// The backward pass in clusters of blocks.
#include "cuda/rnn/persistent_backward.h"

namespace fused_rnn::cuda {
namespace {

template <class Cell, class Config>
__global__ void __launch_bounds__(kPersistentThreads, 1)
    persistent_clusters_kernel(const __grid_constant__ PersistentBackward a) {
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900
  run_backward<Cell, Config, BackwardWay::clusters>(a);
#else
  // Older GPUs are not asked for it; a build for them alone may meet a newer one.
  __trap();
#endif
}

}  // namespace

BackwardKernel clustered_backward_kernel(CellKind kind, const Tiling& tiling) {
  BackwardKernel kernel;
  with_cell(kind, [&](auto cell) {
    using Cell = decltype(cell);
    if constexpr (!Cell::kNorms) {
      for_each_config<Cell>([&](size_t index, auto config) {
        using Config = decltype(config);
        if constexpr (Config::kSharedBytes == 0) {
          if (index == tiling.config)
            kernel = {persistent_clusters_kernel<Cell, Config>, shared_of_cluster(tiling)};
        }
      });
    }
  });
  return kernel;
}

}  // namespace fused_rnn::cuda
