// The backward pass of all layers in one launch.
#include "cuda/rnn/persistent_backward.h"

namespace fused_rnn::cuda {
namespace {

template <class Cell, class Config>
__global__ void __launch_bounds__(kPersistentThreads, 1)
    backward_wavefront_kernel(const __grid_constant__ PersistentBackward a) {
  run_backward<Cell, Config, BackwardWay::wavefront>(a);
}

}  // namespace

BackwardKernel wavefront_backward_kernel(CellKind kind, const Tiling& tiling) {
  BackwardKernel kernel;
  with_cell(kind, [&](auto cell) {
    using Cell = decltype(cell);
    if constexpr (!Cell::kNorms) {
      for_each_config<Cell>([&](size_t index, auto config) {
        using Config = decltype(config);
        if constexpr (Config::kSharedBytes == 0) {
          if (index == tiling.config) kernel = {backward_wavefront_kernel<Cell, Config>};
        }
      });
    }
  });
  return kernel;
}

}  // namespace fused_rnn::cuda
