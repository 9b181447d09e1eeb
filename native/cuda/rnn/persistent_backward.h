// Pieces of the persistent backward kernels: persistent_backward.cu, which tells how they work, and
// experimental/clusters_backward.cu and wavefront_backward.cu. For .cu files.
#pragma once

#include "cuda/rnn/persistent_kernels.h"

namespace fused_rnn::cuda {

// The arguments of one direction (or layer), in device memory. rows: of the packed input, one for
// each sequence of each step. G, B: gates and gate-matrix blocks of the cell (cells/cell.h).
struct BackwardDirection {
  Steps steps;
  const float* w_hh;     // [G*H, H], its gates in the order of the gate matrix's blocks
  float* gates;          // [rows, B*H]: activations, then the gradients of the pre-activations
  const float* h_prev;   // [rows, H]: h(t-1), cells that use it past the gates
  const float* c_prev;   // [rows, H]: c(t-1), cells that have one
  const float* dy;       // [rows, dy_ld]: this direction's columns, or null for zeros
  const float* dhn;      // [N, H]: the gradient of each sequence's last h, or null for zeros
  const float* dcn;      // [N, H]: and of its last c
  float* dh;             // [N, H]: what of dh(t-1) does not go through the gates; in the end dh0
  float* dc;             // [N, H]: dc(t-1); in the end dc0
  TaggedPair* partials;  // PartialSums' memory
};

struct BackwardSizes {
  int hidden;                         // H
  int dy_ld;                          // floats from row to row of dy: directions * H
  int unit_tiles, groups, row_tiles;  // Tiling's
  bool needs_dh0;                     // whether the gradient of the initial state is wanted
};

// ---- Weights and the product with the gates' gradients ------------------------------------------

// A lane's share of a warp's weights: of 8 states and 8 words of columns each. A warp has kColumns
// rows of W_hh and kStates columns.
template <class Config>
using BackwardWeights = Weights<Config, Config::kColumnWordTiles>;

// w[G*H, H]: the rows of this block's units, the columns of the states that lane.warp multiplies.
template <class Config>
__device__ void load_weights(const float* w_hh, int hidden, int first_unit, const WarpLane& lane,
                             BackwardWeights<Config>& w) {
#pragma unroll
  for (int step = 0; step < Config::kSteps; ++step) {
    // All loads at once would take too many registers.
    if constexpr (Config::kSharedBytes > 0) __syncwarp();
    const int n = lane.warp * Config::kStates + step * 8 + lane.g;
    const auto weight = [&](int k) {
      const int gate = k / Config::kUnits, unit = first_unit + k % Config::kUnits;
      const bool there = unit < hidden && n < hidden;
      return with_canonical_nan(there ? w_hh[(gate * hidden + unit) * hidden + n] : 0.0f);
    };
#pragma unroll
    for (int tile = 0; tile < Config::kColumnWordTiles; ++tile) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const int k = (tile * 8 + lane.t + 4 * i) * Config::kOfWord;
        const Word<Config::kPrecision> word(weight(k), Config::kOfWord > 1 ? weight(k + 1) : 0.0f);
#pragma unroll
        for (int p = 0; p < Config::kTerms; ++p) w(step, tile)[p][i] = word.term[p];
      }
    }
  }
}

// The gradients of a tile's pre-activations in shared memory, as the words that are multiplied:
// [terms, kTileRows, kStride], of kBlocks blocks of the block's units.
template <class Config, int kBlocks>
struct GateGradients {
  // So that the lanes of a warp read from different banks.
  static constexpr int kStride = kBlocks * Config::kUnits / Config::kOfWord + 4;
  static constexpr int kWords = Config::kTerms * kTileRows * kStride;
  uint32_t* shared;

  __device__ __forceinline__ void store(int row, int unit, int gate, float x) const {
    uint32_t* to = shared + row * kStride;
    const int column = gate * Config::kUnits + unit;
    if constexpr (Config::kOfWord == 2) {
      const uint16_t bits = round_to_bf16(x);
      std::memcpy(reinterpret_cast<char*>(to) + 2 * column, &bits, sizeof bits);
    } else {
      const Word<Config::kPrecision> word(x, 0);
#pragma unroll
      for (int p = 0; p < Config::kTerms; ++p) {
        to[p * (kTileRows * kStride) + column] = word.term[p];
      }
    }
  }
};

// A tile's gradients [16 rows, kColumns] times the warp's columns of W_hh: what this block adds to
// the gradient of kStates states. store(tile of 8 states, row 0 or 8 of the lane, x, y): two
// neighbouring states.
template <class Config, int kStride, class Store>
__device__ void multiply_gates(const uint32_t* gradients, const WarpLane& lane,
                               BackwardWeights<Config>& w, Store store) {
  // Tiles of columns; the sums of more take too many registers.
  constexpr int kAtOnce = Config::kTerms > 1 && Config::kSteps > 4 ? 2 : 4;
  static_assert(Config::kSteps % kAtOnce == 0);
#pragma unroll
  for (int first = 0; first < Config::kSteps; first += kAtOnce) {
    float sums[kAtOnce][4] = {};
#pragma unroll
    for (int tile = 0; tile < Config::kColumnWordTiles; ++tile) {
      uint32_t a[Config::kTerms][4];
#pragma unroll
      for (int p = 0; p < Config::kTerms; ++p) {
        const uint32_t* from =
            gradients + p * kTileRows * kStride + lane.g * kStride + tile * 8 + lane.t;
        a[p][0] = from[0];
        a[p][1] = from[8 * kStride];
        a[p][2] = from[4];
        a[p][3] = from[8 * kStride + 4];
      }
      multiply_tiles<Config::kPrecision>(sums, a,
                                         [&](int i) -> auto& { return w(first + i, tile); });
    }
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      store(first + i, 0, sums[i][0], sums[i][1]);
      store(first + i, 8, sums[i][2], sums[i][3]);
    }
  }
}

// ---- One unit of one row, by the thread that owns it --------------------------------------------

// Which one that is, the same for every tile of rows. The partial sums of a pair of neighbouring
// units are added up by kAdders lanes of a warp, kLanesApart lanes apart; of these the first two
// own a unit each.
template <class Config>
struct BackwardThread {
  static constexpr int kPairs = Config::kUnits / 2;
  static constexpr int kAdders = kPersistentThreads / (kTileRows * kPairs);
  static constexpr int kLanesApart = kWarp / kAdders;
  static_assert(kAdders >= 2 && kLanesApart % kPairs == 0);
  int lane;
  int adder, pair;   // which of the adders of which pair of units
  int row;           // of a tile of kTileRows
  int unit_of_tile;  // of the block's unit tile
  int unit;          // of the layer
  int sequence;      // of the batch, in the first tile of rows
  bool has_unit;

  __device__ BackwardThread(const BlockTile& block, int warp, int hidden)
      : lane(static_cast<int>(threadIdx.x) % kWarp),
        adder(lane / kLanesApart),
        pair(lane % kPairs),
        row((warp * kLanesApart + lane % kLanesApart) / kPairs),
        unit_of_tile(2 * pair + adder),
        unit(block.first_unit + unit_of_tile),
        sequence(block.first_row + row),
        has_unit(adder < 2 && unit < hidden) {}
};

// What the cell needs: read from memory, but for the partial sums.
template <class Cell>
struct BackwardElement {
  float s[Cell::kBlocks];  // activations (LSTM i, f, g, o; GRU q, r, z, n), then their gradients
  float dy, dh_end;        // from outside: of y, and of the last h at a sequence's end
  float h, c, dc;          // h(t-1), c(t-1), and the gradient of c(t)
  float direct;            // what of dh(t) does not go through the gates of step t+1
};

// `later`: the sequence goes on in step t+1. Nothing is calculated with what it reads, so that
// nothing waits for it before the partial sums.
template <class Cell>
__device__ __forceinline__ BackwardElement<Cell> load_element(const BackwardDirection& d,
                                                              const BackwardSizes& a, int row,
                                                              int of_state, int unit, bool later) {
  BackwardElement<Cell> e;
  const float* gates = d.gates + row * Cell::kBlocks * a.hidden + unit;
#pragma unroll
  for (int b = 0; b < Cell::kBlocks; ++b) e.s[b] = gates[b * a.hidden];
  e.dy = d.dy != nullptr ? d.dy[row * a.dy_ld + unit] : 0.0f;
  e.dh_end = !later && d.dhn != nullptr ? d.dhn[of_state] : 0.0f;
  e.h = Cell::kDirectH ? d.h_prev[row * a.hidden + unit] : 0.0f;
  e.c = Cell::kHasC ? d.c_prev[row * a.hidden + unit] : 0.0f;
  e.dc = 0;
  if (Cell::kHasC) {
    if (later) {
      e.dc = d.dc[of_state];
    } else if (d.dcn != nullptr) {
      e.dc = d.dcn[of_state];
    }
  }
  e.direct = Cell::kDirectH && later ? d.dh[of_state] : 0.0f;
  return e;
}

// Turns e.s into gradients; from_later: of h(t), through the gates of step t+1.
template <class Cell>
__device__ __forceinline__ void backward_cell(const BackwardDirection& d, int of_state,
                                              float from_later, BackwardElement<Cell>& e) {
  float dh_prev = 0, dc_prev = 0;
  Cell::backward(e.s, e.h, e.c, e.dy + e.dh_end + e.direct + from_later, e.dc, dh_prev, dc_prev);
  if (Cell::kDirectH) d.dh[of_state] = dh_prev;
  if (Cell::kHasC) d.dc[of_state] = dc_prev;
}

// ---- Partial sums of dh(t-1) --------------------------------------------------------------------

// Where the blocks of a group leave their partial sums of dh(t-1) for each other, with the number
// of the step as tag, from 1 on: TaggedPair
//   [2 halves, groups, unit tiles (whose units), sources (who left it), rows of a group, kPairs].
// A source is a unit tile, or a cluster of them. The halves take turns: a block that writes to a
// half again has read, in the step between, sums that every other block made of what it had read
// from that half.
template <class Config>
class PartialSums {
 public:
  using Thread = BackwardThread<Config>;
  static constexpr int kPairs = Thread::kPairs;

  __device__ PartialSums(const BackwardSizes& a, const BlockTile& block, int sources,
                         const Thread& own)
      : sources_(sources),
        of_source_(block.most_rows * kPairs),
        of_tile_(sources * of_source_),
        half_(a.groups * a.unit_tiles * of_tile_),
        of_group_(block.group * a.unit_tiles * of_tile_),
        for_this_(of_group_ + block.unit_tile * of_tile_ + own.adder * of_source_ +
                  own.row * kPairs + own.pair) {}

  // Waits for what all sources have left, under a tag, for a tile's row of this thread's pair of
  // units, and adds it up in a fixed order. By whole warps; to the first two adders the sum of
  // their unit.
  __device__ __forceinline__ float sum(const TaggedPair* partials, uint32_t tag, int tile,
                                       const Thread& own) const {
    constexpr int kAtOnce = 8;
    const TaggedPair* from =
        partials + for_this_ + (tag % 2 != 0 ? half_ : 0) + tile * kTileRows * kPairs;
    float x = 0, y = 0;
    for (int left_over = sources_ - own.adder; left_over > 0;
         left_over -= Thread::kAdders * kAtOnce) {
      TaggedPair pairs[kAtOnce];
      for (bool all = false; !all; spin()) {
        all = true;
#pragma unroll
        for (int i = 0; i < kAtOnce; ++i) {
          pairs[i] =
              poll(from + i * Thread::kAdders * of_source_, i * Thread::kAdders < left_over, tag);
        }
#pragma unroll
        for (int i = 0; i < kAtOnce; ++i) all = all && ready(pairs[i], tag);
      }
#pragma unroll
      for (int i = 0; i < kAtOnce; ++i) {
        x += value_of(pairs[i].x);
        y += value_of(pairs[i].y);
      }
      from += kAtOnce * Thread::kAdders * of_source_;
    }
#pragma unroll
    for (int apart = Thread::kLanesApart; apart < kWarp; apart *= 2) {
      x += __shfl_xor_sync(0xffffffffu, x, apart);
      y += __shfl_xor_sync(0xffffffffu, y, apart);
    }
    return own.adder == 0 ? x : y;
  }

  // Where a lane of the warp that has the states from warp * kStates on leaves what it has of
  // `source`; plus at() of the step, and of the tile of 8 states and the row that
  // multiply_gates() names.
  __device__ __forceinline__ TaggedPair* of_lane(TaggedPair* partials, const WarpLane& lane,
                                                 int source) const {
    return partials + of_group_ + lane.warp * Config::kStates / Config::kUnits * of_tile_ +
           source * of_source_ + lane.g * kPairs +
           lane.warp * Config::kStates % Config::kUnits / 2 + lane.t;
  }
  __device__ __forceinline__ int at(int columns, int row) const {
    return columns * 8 / Config::kUnits * of_tile_ + columns * 8 % Config::kUnits / 2 +
           row * kPairs;
  }
  // For a tile of rows, under the tag after `tag`.
  __device__ __forceinline__ int next(uint32_t tag, int tile) const {
    return (tag % 2 != 0 ? 0 : half_) + tile * kTileRows * kPairs;
  }
  // Where a source leaves its sum for a pair of units of a tile.
  __device__ __forceinline__ TaggedPair* of_pair(TaggedPair* partials, int unit_tile, int source,
                                                 int row, int pair) const {
    return partials + of_group_ + unit_tile * of_tile_ + source * of_source_ + row * kPairs + pair;
  }

 private:
  int sources_;
  int of_source_, of_tile_, half_;  // TaggedPairs of a source, of a unit tile, of a half
  int of_group_;                    // where this group's begin
  int for_this_;                    // and those for this thread
};

// After the first step: dh0 of the sequences that began with it.
template <class Cell, class Config>
__device__ __forceinline__ void store_dh0(const BackwardDirection& d, const BackwardSizes& a,
                                          const PartialSums<Config>& partial_sums,
                                          const BackwardThread<Config>& own, int rows,
                                          uint32_t tag) {
  for (int tile = 0; tile * kTileRows < rows; ++tile) {
    const float sum = partial_sums.sum(d.partials, tag, tile, own);
    if (!own.has_unit || tile * kTileRows + own.row >= rows) continue;
    float& to = d.dh[(own.sequence + tile * kTileRows) * a.hidden + own.unit];
    to = sum + (Cell::kDirectH ? to : 0.0f);
  }
}

// ---- Launches -----------------------------------------------------------------------------------

// Memory for the partial sums of some loops, with no tag in it.
class PartialsMemory {
 public:
  PartialsMemory(const Tiling& tiling, size_t loops, CudaDevice& device);
  TaggedPair* of(size_t loop) const {
    return reinterpret_cast<TaggedPair*>(memory_.data()) + static_cast<int64_t>(loop) * of_loop_;
  }

 private:
  int64_t of_loop_;
  DeviceScratch memory_;
};

BackwardSizes sizes_of(const BackwardLoop& loop, const Tiling& tiling);
BackwardDirection direction_of(const BackwardLoop& loop, const StepRows* plan, bool reverse,
                               TaggedPair* partials);

}  // namespace fused_rnn::cuda
