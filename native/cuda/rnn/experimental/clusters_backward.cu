// The backward pass in clusters of blocks.
#include "cuda/rnn/persistent_backward.h"

namespace fused_rnn::cuda {
namespace {

template <class Cell, class S>
__global__ void __launch_bounds__(kPersistentThreads, 1)
    persistent_clusters_kernel(const __grid_constant__ PersistentBackward a) {
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900
  run_backward<Cell, S, BackwardWay::clusters>(a);
#else
  // Older GPUs are not asked for it; a build for them alone may meet a newer one.
  __trap();
#endif
}

}  // namespace

BackwardKernel clustered_backward_kernel(CellKind kind, const Division& division) {
  BackwardKernel kernel;
  with_cell(kind, [&](auto cell) {
    using Cell = decltype(cell);
    if constexpr (!Cell::kNorms) {
      for_each_share<Cell>([&](size_t index, auto share) {
        using S = decltype(share);
        if constexpr (S::kSharedBytes == 0) {
          if (index == division.share)
            kernel = {persistent_clusters_kernel<Cell, S>, shared_of_cluster(division)};
        }
      });
    }
  });
  return kernel;
}

}  // namespace fused_rnn::cuda
