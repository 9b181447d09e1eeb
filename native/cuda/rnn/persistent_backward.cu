// The backward pass through a layer's whole sequence in one kernel. Read persistent_forward.cu
// first: what a block owns and why all blocks are resident is the same.
//
// T steps, N sequences, H units; rows: one for each sequence of each step. G gates: LSTM i, f, g,
// o; GRU r, z, n; RNN one. B blocks of a row of the gate matrix (cells/cell.h).
//
// Who owns what. A block owns all gates of one unit tile for the sequences of one group, and has
// its rows of W_hh in registers: each of its 8 warps those columns that belong to an eighth of the
// states. It turns its units' activations into the gradients of their pre-activations, in place.
//
// What orders the steps. dh(t-1) = dgates(t) W_hh is a sum over all units, so every block of a
// group has a part of it for every unit: it leaves one partial sum for each, tagged with the number
// of the step in the same 8 bytes, and the owner of a unit polls until all have the tag that it
// wants (handoff.h). There is no other order between blocks.
//
// If a block is late, the blocks of its group poll for its partial sums in the next step. A partial
// sum's memory is used again two steps later: PartialSums says why nobody can be that late.
//
// One step of a block, for each tile of 16 rows of its group, from the last step to the first:
// (1) each thread loads the activations and what comes from outside: dy, dhn, dcn;
// (2) it polls and adds up the partial sums of its unit's dh(t), left in step t+1;
// (3) it computes the cell's backward equations;
// (4) the gradients of the pre-activations go to shared memory, between two barriers of the block;
// (5) each warp multiplies them by its weights, and publishes the products as partial sums of
//     dh(t-1);
// (6) each thread stores its gradients, for the weights' gradients afterwards.
#include "cuda/rnn/experimental/experimental.h"
#include "cuda/rnn/persistent_backward.h"

namespace fused_rnn::cuda {
namespace {

struct PersistentBackward : BackwardSizes {
  BackwardDirection directions[2];
};

template <class Cell, class Config>
__global__ void __launch_bounds__(kPersistentThreads, 1)
    persistent_backward_kernel(const __grid_constant__ PersistentBackward a) {
  using Gradients = GateGradients<Config, Cell::kGates>;
  FUSED_RNN_SHARED(uint32_t, shared, Gradients::kWords);
  const Gradients gradients{shared};
  const BlockTile block(a.unit_tiles, a.groups, a.row_tiles, Config::kUnits);
  const WarpLane lane;
  const BackwardDirection& d = a.directions[block.loop];

  // Warps beyond the states have nothing to multiply.
  const bool multiplies = lane.warp * Config::kStates < a.hidden;
  BackwardWeights<Config> w;
  load_weights<Config>(d.w_hh, a.hidden, block.first_unit, lane, w);

  const BackwardThread<Config> own(block, lane.warp, a.hidden);
  const PartialSums<Config> partial_sums(a, block, a.unit_tiles, own);
  TaggedPair* const partials_of_lane = partial_sums.of_lane(d.partials, lane, block.unit_tile);
  // The tiles of 8 states from here on are beyond the last unit tile.
  const int unit_tiles = (a.hidden + Config::kUnits - 1) / Config::kUnits;
  const int column_tiles = (unit_tiles * Config::kUnits - lane.warp * Config::kStates) / 8;

  StepRows after{0, 0}, now = d.steps[d.steps.count - 1];
  uint32_t tag = 0;  // of the partial sums that were left last; 0: none
  for (int i = d.steps.count - 1; i >= 0; --i) {
    const StepRows current = now;
    // Of the group's sequences, those in this step and those in the one that is later in time.
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

      // (2) dh(t) through the gates of step t+1. Partial sums are left for all rows of a tile, also
      // for those without a sequence.
      const float sum =
          tile * kTileRows < later_rows ? partial_sums.sum(d.partials, tag, tile, own) : 0.0f;
      const float from_later = later ? sum : 0.0f;

      // (3) The cell.
      if (owns) {
        backward_cell<Cell>(d, of_state, from_later, e);
      } else if (own.has_unit && later && a.needs_dh0) {
        // The sequence begins with the step that is later: this is dh0.
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

      // (5) Partial sums of dh(t-1), for the owners of its units.
      const int next = partial_sums.next(tag, tile);
      if (multiplies) {
        multiply_gates<Config, Gradients::kStride>(
            shared, lane, w, [&](int columns, int row_of_tile, float x, float y) {
              if (columns >= column_tiles) return;
              publish(partials_of_lane + next + partial_sums.at(columns, row_of_tile), x, y,
                      tag + 1);
            });
      }

      // (6) What nobody waits for.
      if (owns) store();
    }
    if (rows > 0 && passes_on) tag += 1;
  }
  if (a.needs_dh0) {
    store_dh0<Cell, Config>(d, a, partial_sums, own, block.rows_of(after), tag);
  }
}

// ---- Launches -----------------------------------------------------------------------------------

using BackwardKernel = PersistentKernel<PersistentBackward>;

template <class Cell>
BackwardKernel backward_kernel(const Tiling& tiling) {
  BackwardKernel kernel;
  if constexpr (kPlainSteps<Cell>) {
    for_each_config<Cell>([&](size_t index, auto config) {
      using Config = decltype(config);
      if (index == tiling.config) {
        kernel = {persistent_backward_kernel<Cell, Config>, Config::kSharedBytes};
      }
    });
  }
  return kernel;
}

BackwardKernel backward_kernel(CellKind kind, const Tiling& tiling) {
  return with_cell(kind, [&](auto cell) { return backward_kernel<decltype(cell)>(tiling); });
}

// TaggedPairs of one loop.
int64_t partials_of_loop(const Tiling& tiling) {
  return int64_t{2} * tiling.groups * tiling.unit_tiles * tiling.sources() * tiling.row_tiles *
         kTileRows * tiling.units() / 2;
}

}  // namespace

int max_resident_blocks_backward(CellKind cell, const Tiling& tiling, CudaDevice& device) {
  return max_resident_blocks(backward_kernel(cell, tiling), device);
}

PartialsMemory::PartialsMemory(const Tiling& tiling, size_t loops, CudaDevice& device)
    : of_loop_(partials_of_loop(tiling)),
      memory_(device, of_loop_ * static_cast<int64_t>(loops) *
                          static_cast<int64_t>(sizeof(TaggedPair) / sizeof(float))) {
  check(
      cudaMemsetAsync(memory_.data(), 0, static_cast<size_t>(of_loop_) * loops * sizeof(TaggedPair),
                      device.stream()),
      "cudaMemsetAsync");
}

BackwardSizes sizes_of(const BackwardLoop& loop, const Tiling& tiling) {
  return {.hidden = static_cast<int>(loop.shape.hidden),
          .dy_ld = static_cast<int>(loop.shape.directions * loop.shape.hidden),
          .unit_tiles = tiling.unit_tiles,
          .groups = tiling.groups,
          .row_tiles = tiling.row_tiles,
          .needs_dh0 = loop.needs_dh0};
}

BackwardDirection direction_of(const BackwardLoop& l, const StepRows* plan, bool reverse,
                               TaggedPair* partials) {
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
      .partials = partials};
}

void run_persistent(const std::vector<BackwardLoop>& loops, const Tiling& tiling,
                    CudaDevice& device) {
  if (tiling.clusters) return run_clusters(loops, tiling, device);
  const PersistentPlans plans(loops, device);
  const PartialsMemory partials(tiling, loops.size(), device);
  PersistentBackward a{sizes_of(loops[0], tiling), {}};
  for (size_t i = 0; i < loops.size(); ++i) {
    a.directions[i] = direction_of(loops[i], plans.plan(i), i == 1, partials.of(i));
  }
  launch_persistent(backward_kernel(loops[0].shape.cell, tiling), blocks_of(loops.size(), tiling),
                    device.stream(), a);
}

}  // namespace fused_rnn::cuda
