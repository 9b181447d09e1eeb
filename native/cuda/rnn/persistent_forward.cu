// The forward pass of a layer's whole sequence in one kernel. Read steps_forward.cu first: it
// computes the same, one step at a time.
//
// T steps, N sequences, H units; rows: one for each sequence of each step. G gates: LSTM i, f, g,
// o; GRU r, z, n; RNN one. B gate blocks, the groups of H columns of the gate matrix: LSTM i, f, g,
// o; GRU q, r, z, n (cells/cell.h). ForwardDirection in persistent_forward.h has the shapes of all
// arguments.
//
// Who owns what. A block owns all gates of one unit tile (16 or 8 units) for the sequences of one
// group (16, or a few times 16), from the first step to the last. Its rows of W_hh stay in
// registers: each of its 8 warps holds them for an eighth of the states. Within the block, a thread
// owns one unit of one row of each tile of 16 rows, and keeps the cell's elementwise work.
// Together, the blocks of a group own all units of its sequences. Groups, and the two directions,
// never wait for each other.
//
// What orders the steps. Nothing but the data: there is no barrier between blocks, no counter and
// no second launch. Before the launch, prepare_direction() fills h_prev [rows, H] with kEmpty, a
// NaN that no arithmetic gives, everywhere but for the initial states. The owner of a unit
// publishes h(t) into the row where step t+1 reads h(t-1); a reader polls the words it needs until
// none is kEmpty (handoff.h). After the fill each word is written once, by one thread, so there is
// no old value that could be read by mistake.
//
// If a block is late, the blocks of its group poll in the next step until its states are there;
// they can be at most one step ahead of it. It still finds all its inputs, since no step's rows are
// ever overwritten. A block cannot be late for ever: all blocks of the launch are resident at once
// (launch_persistent(), sized by max_resident_blocks_forward()), so none waits for a place on the
// GPU. There is no time limit: a block that never published would hang the launch.
//
// One step of a block, for each tile of 16 rows of its group:
// (1) each thread loads what its unit needs besides the states: W_ih x, c(t-1);
// (2) each warp polls its eighth of the states h(t-1), and multiplies it by its weights;
// (3) the warps' sums go to shared memory, between two barriers of the block;
// (4) each thread adds the sums of the 8 warps for its unit, the bias and W_ih x;
// (5) it computes the cell;
// (6) it publishes h(t), for which other blocks may be waiting;
// (7) it stores what nobody waits for: y, and the activations for the backward pass.
#include "cuda/rnn/persistent_forward.h"

namespace fused_rnn::cuda {
namespace {

struct PersistentForward {
  ForwardDirection directions[2];
  int hidden;                         // H
  int y_ld;                           // floats from row to row of y: directions * H
  int unit_tiles, groups, row_tiles;  // Tiling's
  bool fours;                         // rows of states and weights begin at multiples of 16 bytes
};

template <class Cell, class Config>
__global__ void __launch_bounds__(kPersistentThreads, 1)
    persistent_forward_kernel(const __grid_constant__ PersistentForward args) {
  using Sums = WarpSums<Cell, Config>;
  FUSED_RNN_SHARED(float, shared, Sums::kFloats);
  const Sums warp_sums{shared};
  const BlockTile block(args.unit_tiles, args.groups, args.row_tiles, Config::kUnits);
  const WarpLane lane;
  const ForwardDirection& dir = args.directions[block.loop];

  // A warp whose states would begin at H or beyond has nothing to multiply: its sums stay zeros.
  const bool has_states = lane.warp * Config::kStates < args.hidden;
  ForwardWeights<Config> w;
  load_weights<Config>(dir.w_hh, args.hidden, block.first_unit, args.fours, lane, w);
  warp_sums.clear();

  const ForwardThread<Config> thread(block, args.hidden);
  float bias[Cell::kBlocks];
  for (int b = 0; b < Cell::kBlocks; ++b) {
    bias[b] =
        dir.bias != nullptr && thread.has_unit ? dir.bias[b * args.hidden + thread.unit] : 0.0f;
  }

  __syncthreads();
  StepRows next = dir.steps[0];
  for (int i = 0; i < dir.steps.count; ++i) {
    const StepRows current = next;
    next = dir.steps[i + 1];  // read ahead; behind the last step it has no rows
    // How many of the group's sequences are in this step, and how many of them in the next one.
    const int rows = block.rows_of(current), rows_with_next = min(rows, block.rows_of(next));
    if (rows == 0) continue;
    const int tiles = (rows + kTileRows - 1) / kTileRows;
    // s: pre-activations, then activations, one for each gate block.
    float s[Cell::kBlocks] = {}, h = 0;
    const auto store = [&](int row) {
      dir.y[row * args.y_ld + thread.unit] = h;
      if (dir.gates != nullptr) store_gates<Cell>(dir.gates, args.hidden, row, thread.unit, s);
    };
    for (int tile = 0; tile < tiles; ++tile) {
      // (1) What the unit needs besides the states.
      const int sequence_of_group = tile * kTileRows + thread.row,
                row = current.row + thread.sequence + tile * kTileRows;
      const bool has_element = thread.has_unit && sequence_of_group < rows;
      ForwardElement<Cell> element{};
      if (has_element) element = load_element<Cell>(dir, args.hidden, row, thread.unit);

      // (2) This warp's eighth of h(t-1) W_hh^T.
      float sums[Config::kColumnTiles][4];
      if (has_states) {
        const float* states =
            dir.h_prev +
            static_cast<int64_t>(current.row + block.first_row + tile * kTileRows) * args.hidden;
        multiply_states<Config>(states, rows - tile * kTileRows, args.hidden, args.fours, lane, w,
                                sums);
      }

      // (3) The sums of all warps.
      __syncthreads();  // all threads have read the sums of the tile before
      if (has_states) warp_sums.store(lane, sums);
      __syncthreads();
      if (!has_element) continue;

      // (4) The products with the states, gate by gate (LSTM i, f, g, o; GRU r, z, n); then, with
      // bias and W_ih x, the pre-activations, gate block by gate block (LSTM i, f, g, o; GRU q, r,
      // z, n).
      float product[Cell::kGates];
#pragma unroll
      for (int gate = 0; gate < Cell::kGates; ++gate) {
        product[gate] = 0;
#pragma unroll
        for (int warp = 0; warp < Config::kWarps; ++warp) {
          warp_sums.add(warp, gate, thread.row, thread.unit_of_tile, product[gate]);
        }
      }
      add_up<Cell>(s, bias, element.x, product, std::make_integer_sequence<int, Cell::kBlocks>{});

      // (5) The cell.
      float c = 0;
      Cell::forward(s, element.h, element.c, h, c);

      // (6) h(t) to where step t+1 polls it, or, at a sequence's end, to hn. c(t) is read by this
      // thread alone.
      const bool has_next = sequence_of_group < rows_with_next;
      const int to_row =
          (has_next ? next.row + thread.sequence : thread.sequence) + tile * kTileRows;
      publish((has_next ? dir.h_prev : dir.hn) + to_row * args.hidden + thread.unit, h);
      if (Cell::kHasC) (has_next ? dir.c_prev : dir.cn)[to_row * args.hidden + thread.unit] = c;

      // (7) What nobody waits for; the last tile's after the loop.
      if (tile + 1 < tiles) store(row);
    }
    const int last = (tiles - 1) * kTileRows;
    if (thread.has_unit && last + thread.row < rows) store(current.row + thread.sequence + last);
  }
}

// ---- Launches -----------------------------------------------------------------------------------

using ForwardKernel = PersistentKernel<PersistentForward>;

template <class Cell>
ForwardKernel forward_kernel(const Tiling& tiling) {
  ForwardKernel kernel;
  if constexpr (kPlainSteps<Cell>) {
    for_each_config<Cell>([&](size_t index, auto config) {
      using Config = decltype(config);
      if (index == tiling.config) {
        kernel = {persistent_forward_kernel<Cell, Config>, Config::kSharedBytes};
      }
    });
  }
  return kernel;
}

ForwardKernel forward_kernel(CellKind kind, const Tiling& tiling) {
  return with_cell(kind, [&](auto cell) { return forward_kernel<decltype(cell)>(tiling); });
}

}  // namespace

int max_resident_blocks_forward(CellKind cell, const Tiling& tiling, CudaDevice& device) {
  return max_resident_blocks(forward_kernel(cell, tiling), device);
}

void run_persistent(const std::vector<ForwardLoop>& loops, const Tiling& tiling,
                    CudaDevice& device) {
  const RnnShape& s = loops[0].shape;
  const LaunchStream on = main_stream(device);
  const PersistentPlans plans(loops, device);
  PersistentForward a{.directions = {},
                      .hidden = static_cast<int>(s.hidden),
                      .y_ld = static_cast<int>(s.directions * s.hidden),
                      .unit_tiles = tiling.unit_tiles,
                      .groups = tiling.groups,
                      .row_tiles = tiling.row_tiles,
                      .fours = s.hidden % 4 == 0};
  for (size_t i = 0; i < loops.size(); ++i) {
    a.directions[i] = prepare_direction(loops[i], plans.plan(i), i == 1, on);
    a.fours = a.fours && aligned16(loops[i].w_hh) && aligned16(loops[i].saved.h_prev);
  }
  launch_persistent(forward_kernel(s.cell, tiling), blocks_of(loops.size(), tiling), on.stream, a);
}

}  // namespace fused_rnn::cuda
