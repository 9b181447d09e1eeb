// The backward pass of all layers in one launch.
#include "cuda/rnn/persistent_backward.h"

namespace fused_rnn::cuda {
namespace {

template <class Cell, class S>
__global__ void __launch_bounds__(kPersistentThreads, 1)
    backward_wavefront_kernel(const __grid_constant__ PersistentBackward a) {
  run_backward<Cell, S, BackwardWay::wavefront>(a);
}

}  // namespace

BackwardKernel wavefront_backward_kernel(CellKind kind, const Division& division) {
  BackwardKernel kernel;
  with_cell(kind, [&](auto cell) {
    using Cell = decltype(cell);
    if constexpr (!Cell::kNorms) {
      for_each_share<Cell>([&](size_t index, auto share) {
        using S = decltype(share);
        if constexpr (S::kSharedBytes == 0) {
          if (index == division.share) kernel = {backward_wavefront_kernel<Cell, S>};
        }
      });
    }
  });
  return kernel;
}

}  // namespace fused_rnn::cuda
