// The backward pass whose shares go by way of memory alone, and the launches of all ways.
#include "cuda/rnn/persistent_backward.h"

namespace fused_rnn::cuda {
namespace {

template <class Cell, class Config>
__global__ void __launch_bounds__(kPersistentThreads, 1)
    persistent_backward_kernel(const __grid_constant__ PersistentBackward a) {
  run_backward<Cell, Config, BackwardWay::memory>(a);
}

template <class Cell>
BackwardKernel backward_kernel(const Tiling& tiling) {
  BackwardKernel kernel;
  if constexpr (!Cell::kNorms) {
    for_each_config<Cell>([&](size_t index, auto config) {
      using Config = decltype(config);
      if (index == tiling.config)
        kernel = {persistent_backward_kernel<Cell, Config>, Config::kSharedBytes};
    });
  }
  return kernel;
}

BackwardKernel backward_kernel(CellKind kind, const Tiling& tiling) {
  if (tiling.wavefront) return wavefront_backward_kernel(kind, tiling);
  if (tiling.clusters) return clustered_backward_kernel(kind, tiling);
  return with_cell(kind, [&](auto cell) { return backward_kernel<decltype(cell)>(tiling); });
}

}  // namespace

int max_resident_blocks_backward(CellKind cell, const Tiling& tiling, CudaDevice& device) {
  const BackwardKernel kernel = backward_kernel(cell, tiling);
  if (!tiling.clusters) return max_resident_blocks(kernel, device);
  if (kernel.kernel == nullptr ||
      device.refused.contains(reinterpret_cast<const void*>(kernel.kernel))) {
    return 0;
  }
  return max_resident_clusters(kernel.kernel, dim3(kPersistentThreads), kernel.shared) *
         kBlocksOfCluster;
}

namespace {

// Of one loop.
int64_t pairs_left(const Tiling& tiling) {
  return int64_t{2} * tiling.groups * tiling.unit_tiles * tiling.sources() * tiling.row_tiles *
         kTileRows * tiling.units() / 2;
}

// Where so many loops leave shares, without tags.
class Shares {
 public:
  Shares(const Tiling& tiling, size_t loops, CudaDevice& device)
      : of_loop_(pairs_left(tiling)),
        memory_(device, of_loop_ * static_cast<int64_t>(loops) * kFloats) {
    check(cudaMemsetAsync(memory_.data(), 0,
                          static_cast<size_t>(of_loop_) * loops * sizeof(TaggedPair),
                          device.stream()),
          "cudaMemsetAsync");
  }
  TaggedPair* of(size_t loop) const {
    return reinterpret_cast<TaggedPair*>(memory_.data()) + static_cast<int64_t>(loop) * of_loop_;
  }

 private:
  static constexpr int64_t kFloats = sizeof(TaggedPair) / sizeof(float);
  int64_t of_loop_;
  DeviceScratch memory_;
};

PersistentBackward arguments_of(const BackwardLoop& first, const Tiling& tiling) {
  PersistentBackward a{};
  a.hidden = static_cast<int>(first.shape.hidden);
  a.dy_ld = static_cast<int>(first.shape.directions * first.shape.hidden);
  a.unit_tiles = tiling.unit_tiles;
  a.groups = tiling.groups;
  a.row_tiles = tiling.row_tiles;
  a.needs_dh0 = first.needs_dh0;
  return a;
}

BackwardDirection direction_of(const BackwardLoop& l, const StepRows* plan, bool reverse,
                               TaggedPair* left) {
  return {
      .steps = {plan, static_cast<int>(l.plan.count()), static_cast<int>(l.shape.batch), reverse},
      .w_hh = l.w_hh,
      .gates = l.saved.gates,
      .h_prev = l.saved.h_prev,
      .c_prev = l.saved.c_prev,
      .dy = l.dy,
      .dhn = l.dhn,
      .dcn = l.dcn,
      .dh = l.dh,
      .dc = l.dc,
      .left = left};
}

}  // namespace

void run_persistent(const std::vector<BackwardLoop>& loops, const Tiling& tiling,
                    CudaDevice& device) {
  const PersistentPlans plans(loops, device);
  const Shares left(tiling, loops.size(), device);
  PersistentBackward a = arguments_of(loops[0], tiling);
  for (size_t i = 0; i < loops.size(); ++i) {
    a.loops[i] = direction_of(loops[i], plans.plan(i), i == 1, left.of(i));
  }
  const BackwardKernel kernel = backward_kernel(loops[0].shape.cell, tiling);
  const dim3 blocks = blocks_of(loops.size(), tiling);
  if (tiling.clusters) {
    launch_clusters(kernel.kernel, blocks, dim3(kPersistentThreads), kernel.shared, device.stream(),
                    a);
  } else {
    launch_persistent(kernel, blocks, device.stream(), a);
  }
}

void run_wavefront(const std::vector<BackwardLoop>& layers, const std::vector<Feed>& feeds,
                   const Tiling& tiling, CudaDevice& device) {
  // All have the same.
  const PersistentPlans plans(std::vector<BackwardLoop>{layers[0]}, device);
  const Shares left(tiling, layers.size(), device), between(tiling, layers.size() - 1, device);
  const int64_t blocks = int64_t{tiling.groups} * tiling.unit_tiles;
  const DeviceScratch read(device, blocks * static_cast<int64_t>(layers.size()));
  check(cudaMemsetAsync(read.data(), 0,
                        static_cast<size_t>(blocks) * layers.size() * sizeof(uint32_t),
                        device.stream()),
        "cudaMemsetAsync");
  PersistentBackward a = arguments_of(layers[0], tiling);
  for (size_t i = 0; i < layers.size(); ++i) {
    BackwardDirection& layer = a.loops[i];
    layer = direction_of(layers[i], plans.plan(0), false, left.of(i));
    if (i == 0) continue;
    const Feed& feed = feeds[i];
    BackwardDirection& above = a.loops[i - 1];
    above.w_ih = feed.products[0].b;
    layer.from_above = above.to_below = between.of(i - 1);
    layer.read = above.read_below =
        reinterpret_cast<uint32_t*>(read.data()) + blocks * static_cast<int64_t>(i);
    if (feed.dropped != nullptr) layer.dropout = DropoutFactors(feed);
    layer.dy = nullptr;
  }
  launch_persistent(backward_kernel(layers[0].shape.cell, tiling), blocks_of(layers.size(), tiling),
                    device.stream(), a);
}

}  // namespace fused_rnn::cuda
