// The backward pass in thread-block clusters (compute capability 9.0). It has never run on
// hardware.
//
// Read persistent_backward.cu first. What is different: eight blocks of a group are a cluster.
// Their partial sums of dh(t-1) are added up in shared memory first (cluster_sums.h), so that a
// cluster leaves one partial sum where eight blocks left eight. A group whose unit tiles are no
// multiple of eight has blocks without units in its last cluster.
#include "cuda/rnn/experimental/cluster_sums.h"
#include "cuda/rnn/experimental/experimental.h"
#include "cuda/rnn/persistent_backward.h"

namespace fused_rnn::cuda {
namespace {

struct ClustersBackward : BackwardSizes {
  BackwardDirection directions[2];
};

template <class Cell, class Config>
__device__ __forceinline__ void run_in_clusters(const ClustersBackward& a) {
  using Gradients = GateGradients<Config, Cell::kGates>;
  FUSED_RNN_SHARED(uint32_t, shared, Gradients::kWords);
  const Gradients gradients{shared};
  const BlockTile block(a.unit_tiles, a.groups, a.row_tiles, Config::kUnits);
  const WarpLane lane;
  const BackwardDirection& d = a.directions[block.loop];
  // Those that have units: there may be more blocks.
  const int unit_tiles = (a.hidden + Config::kUnits - 1) / Config::kUnits;
  ClusterSums<Config> cluster(a.unit_tiles, unit_tiles, lane);

  // Warps beyond the states have nothing to multiply.
  const bool multiplies = lane.warp * Config::kStates < a.hidden;
  BackwardWeights<Config> w;
  load_weights<Config>(d.w_hh, a.hidden, block.first_unit, lane, w);
  cluster.wait();

  const BackwardThread<Config> own(block, lane.warp, a.hidden);
  // A block that writes to a half again has also passed a barrier of its cluster, behind the sums
  // that others made of what they had read from it.
  const int source = block.unit_tile / kBlocksOfCluster;
  const PartialSums<Config> partial_sums(a, block, a.unit_tiles / kBlocksOfCluster, own);
  // The tiles of 8 states from here on are beyond the last unit tile.
  const int column_tiles = (unit_tiles * Config::kUnits - lane.warp * Config::kStates) / 8;

  StepRows after{0, 0}, now = d.steps[d.steps.count - 1];
  uint32_t tag = 0;  // of the partial sums that were left last; 0: none
  for (int i = d.steps.count - 1; i >= 0; --i) {
    const StepRows current = now;
    const int rows = block.rows_of(current), later_rows = block.rows_of(after);
    after = current;
    now = d.steps[i - 1];
    const bool passes_on = i > 0 || a.needs_dh0;
    const int most = max(rows, a.needs_dh0 ? later_rows : 0);
    for (int tile = 0; tile * kTileRows < most; ++tile) {
      // (1) The activations, and what comes from outside.
      const int of_group = tile * kTileRows + own.row;
      const int row = current.row + own.sequence + tile * kTileRows;
      const int of_state = (own.sequence + tile * kTileRows) * a.hidden + own.unit;
      const bool owns = own.has_unit && of_group < rows, later = of_group < later_rows;
      BackwardElement<Cell> e{};
      if (owns) e = load_element<Cell>(d, a, row, of_state, own.unit, later);

      // (2) dh(t) through the gates of step t+1.
      const bool left_for_this = block.unit_tile < unit_tiles && tile * kTileRows < later_rows;
      const float sum = left_for_this ? partial_sums.sum(d.partials, tag, tile, own) : 0.0f;
      const float from_later = later ? sum : 0.0f;

      // (3) The cell.
      if (owns) {
        backward_cell<Cell>(d, of_state, from_later, e);
      } else if (own.has_unit && later && a.needs_dh0) {
        d.dh[of_state] = from_later + (Cell::kDirectH ? d.dh[of_state] : 0.0f);
      }
      const auto store = [&] { store_gates<Cell>(d.gates, a.hidden, row, own.unit, e.s); };
      if (tile * kTileRows >= rows || !passes_on) {
        if (owns) store();
        continue;
      }

      // (4) The gradients of the pre-activations of the block's units.
      __syncthreads();  // the gradients before have been read
      if (own.adder < 2) {
#pragma unroll
        for (int gate = 0; gate < Cell::kGates; ++gate) {
          gradients.store(own.row, own.unit_of_tile, gate,
                          with_canonical_nan(owns ? e.s[gate] : 0.0f));
        }
      }
      __syncthreads();

      // (5) Partial sums of dh(t-1) to the blocks of the cluster, and
      if (multiplies) {
        multiply_gates<Config, Gradients::kStride>(
            shared, lane, w, [&](int columns, int row_of_tile, float x, float y) {
              if (columns >= column_tiles) return;
              cluster.give(lane.warp * Config::kSteps + columns, row_of_tile, x, y);
            });
      }
      cluster.arrive();
      // (6) what nobody waits for, meanwhile;
      if (owns) store();
      // (7) then the cluster's sums for the owners of the units.
      cluster.wait();
      const int next = partial_sums.next(tag, tile);
      cluster.take([&](int unit_tile, int row_of_tile, int pair, float x, float y) {
        publish(partial_sums.of_pair(d.partials, unit_tile, source, row_of_tile, pair) + next, x, y,
                tag + 1);
      });
    }
    if (rows > 0 && passes_on) tag += 1;
  }
  if (a.needs_dh0 && block.unit_tile < unit_tiles) {
    store_dh0<Cell, Config>(d, a, partial_sums, own, block.rows_of(after), tag);
  }
}

template <class Cell, class Config>
__global__ void __launch_bounds__(kPersistentThreads, 1)
    persistent_clusters_kernel(const __grid_constant__ ClustersBackward a) {
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900
  run_in_clusters<Cell, Config>(a);
#else
  // Older GPUs are not asked for it; a build for them alone may meet a newer one.
  __trap();
#endif
}

// ---- Launches -----------------------------------------------------------------------------------

using ClustersKernel = PersistentKernel<ClustersBackward>;

ClustersKernel clusters_kernel(CellKind kind, const Tiling& tiling) {
  ClustersKernel kernel;
  with_cell(kind, [&](auto cell) {
    using Cell = decltype(cell);
    if constexpr (kPlainSteps<Cell>) {
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

}  // namespace

int max_resident_clusters_backward(CellKind cell, const Tiling& tiling, CudaDevice& device) {
  const ClustersKernel kernel = clusters_kernel(cell, tiling);
  if (kernel.kernel == nullptr ||
      device.refused.contains(reinterpret_cast<const void*>(kernel.kernel))) {
    return 0;
  }
  return max_resident_clusters(kernel.kernel, dim3(kPersistentThreads), kernel.shared) *
         kBlocksOfCluster;
}

void run_clusters(const std::vector<BackwardLoop>& loops, const Tiling& tiling,
                  CudaDevice& device) {
  const PersistentPlans plans(loops, device);
  const PartialsMemory partials(tiling, loops.size(), device);
  ClustersBackward a{sizes_of(loops[0], tiling), {}};
  for (size_t i = 0; i < loops.size(); ++i) {
    a.directions[i] = direction_of(loops[i], plans.plan(i), i == 1, partials.of(i));
  }
  const ClustersKernel kernel = clusters_kernel(loops[0].shape.cell, tiling);
  launch_clusters(kernel.kernel, blocks_of(loops.size(), tiling), dim3(kPersistentThreads),
                  kernel.shared, device.stream(), a);
}

}  // namespace fused_rnn::cuda
