// The time loop of the backward pass in one kernel. For .cu files.
//
// A step of a block: (1) a thread for each unit of each row adds up what the parts of the group
// leave for that unit in the step that is later in time, asking until it is there, and computes the
// cell's gradients, (2) they meet in shared memory, and each warp multiplies them by the block's
// rows of W_hh, for an eighth of the states, (3) the products, this part's shares of the gradient
// of h(t-1), are left for the parts that have those units. In a cluster of blocks the shares of all
// of them are added up first, by way of their shared memory, so that one share of the cluster is
// left.
//
// In a wavefront, where the loops are a call's layers from the last one on, half of the warps
// multiply by rows of W_ih instead, and leave shares of the gradient of the output of the layer
// below. That one reads them in the step of the same time; what has been read it says by a count,
// since its blocks are behind.
#pragma once

#include "cuda/rnn/experimental/cluster_sums.h"
#include "cuda/rnn/persistent_kernels.h"

namespace fused_rnn::cuda {

struct BackwardDirection {
  Steps steps;
  const float* w_hh;  // [G*H, H], its gates in the order of the gate matrix's blocks
  float* gates;
  const float *h_prev, *c_prev, *dy, *dhn, *dcn;
  float *dh, *dc;
  // [2, groups, parts (whose units), parts or clusters (who left it), rows of a group, pairs of
  // units]
  TaggedPair* left;
  // In a wavefront:
  const float* w_ih = nullptr;  // [G*H, H], of a layer above another one
  // As `left`: of the gradients of y, from the layer above, and of the y below.
  TaggedPair *from_above = nullptr, *to_below = nullptr;
  // [groups, parts]: so many steps of from_above have been read, and of to_below by the layer
  // below.
  uint32_t *read = nullptr, *read_below = nullptr;
  DropoutFactors dropout = {};  // of y, unless `random` is null
};

struct PersistentBackward {
  BackwardDirection loops[kMostLoops];  // directions, or layers
  int hidden, dy_ld;
  int unit_tiles, groups, row_tiles;
  bool needs_dh0;
};

// Of 8 states and 8 words of columns each: of a warp, kColumns rows of W_hh and kStates columns.
template <class Config>
using BackwardWeights = Weights<Config, Config::kColumnWordTiles>;

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

// Column `column` of a row of words, and of its other part.
template <Fp32Precision precision>
__device__ void set_column(uint32_t* row, int column, int to_next_part, float x) {
  if constexpr (kOfWord<precision> == 2) {
    const uint16_t bits = round_to_bf16(x);
    std::memcpy(reinterpret_cast<char*>(row) + 2 * column, &bits, sizeof bits);
  } else {
    const Word<precision> word(x, 0);
#pragma unroll
    for (int p = 0; p < kTerms<precision>; ++p) row[p * to_next_part + column] = word.term[p];
  }
}

// A tile's products of the gates' gradients in shared memory, in parts, and one warp's columns of
// W_hh. store(tile of columns, low or high row, x, y): two that are side by side.
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

// What a unit of a row has from outside, and from this thread's step before.
template <class Cell>
struct BackwardElement {
  float s[Cell::kBlocks];
  float dy, dh_end, h, c, dc, direct;
};

enum class BackwardWay { memory, clusters, wavefront };

template <class Cell, class Config, BackwardWay way>
__device__ __forceinline__ void run_backward(const PersistentBackward& a) {
  constexpr bool kClustered = way == BackwardWay::clusters;
  constexpr bool kWavefront = way == BackwardWay::wavefront;
  // The blocks whose gradients are multiplied; by W_ih from kInputBlock on.
  constexpr int kMultiplied = kWavefront ? Cell::kBlocks : Cell::kGates;
  // So that the lanes of a warp read from different banks.
  constexpr int kStride = kMultiplied * Config::kUnits / Config::kOfWord + 4;
  // The shares of two units that are side by side are added up by so many threads, some lanes
  // apart; each of the first two has one of the units.
  constexpr int kPairs = Config::kUnits / 2;
  constexpr int kAdders = kPersistentThreads / (kTileRows * kPairs);
  constexpr int kLanesApart = kWarp / kAdders;
  static_assert(kAdders >= 2 && kLanesApart % kPairs == 0);
  FUSED_RNN_SHARED(uint32_t, shared, Config::kTerms * kTileRows * kStride);
  const BlockTile block(a.unit_tiles, a.groups, a.row_tiles, Config::kUnits);
  const WarpLane lane;
  const BackwardDirection& d = a.loops[block.loop];
  // Those that have units; the blocks of clusters may be more.
  const int parts = (a.hidden + Config::kUnits - 1) / Config::kUnits;
  [[maybe_unused]] auto cluster = [&] {
    if constexpr (kClustered) {
      return ClusterShares<Config>(a.unit_tiles, parts, lane);
    } else {
      return nullptr;
    }
  }();
  // What this warp multiplies by, and its place among those that share it out.
  constexpr int kFirstOfStates = kWavefront ? Config::kWarps / 2 : 0;
  const bool of_below = kWavefront && lane.warp < kFirstOfStates;
  WarpLane among = lane;
  if (!of_below) among.warp -= kFirstOfStates;
  // Warps beyond the states have nothing to multiply.
  const bool multiplies =
      !(of_below && d.w_ih == nullptr) && among.warp * Config::kStates < a.hidden;
  BackwardWeights<Config> w;
  load_weights<Config>(of_below && multiplies ? d.w_ih : d.w_hh, a.hidden, block.first_unit, among,
                       w);
  if constexpr (kClustered) cluster.wait();

  const int lane_number = static_cast<int>(threadIdx.x) % kWarp;
  const int adder = lane_number / kLanesApart, pair = lane_number % kPairs;
  const int own_row = (lane.warp * kLanesApart + lane_number % kLanesApart) / kPairs;
  const int own_unit = 2 * pair + adder;
  const int unit = block.first_unit + own_unit;
  const bool has_unit = adder < 2 && unit < a.hidden;
  const int sequence = block.first_row + own_row;

  // Where this group's parts, or its clusters, leave their shares, in turn in one of two halves:
  // who writes to a half again has been told shares that are of what was read from it, or is at the
  // barrier of its cluster behind one that has. Tags begin at 1.
  const int sources = kClustered ? a.unit_tiles / kBlocksOfCluster : a.unit_tiles;
  const int source = kClustered ? block.unit_tile / kBlocksOfCluster : block.unit_tile;
  const int share = block.most_rows * kPairs, shares = sources * share;
  const int half = a.groups * a.unit_tiles * shares;
  const int group_shares = block.group * a.unit_tiles * shares;
  const int for_this =
      group_shares + block.unit_tile * shares + adder * share + own_row * kPairs + pair;
  TaggedPair* const left = d.left + group_shares;
  TaggedPair* const by_this = (of_below ? d.to_below + group_shares : left) +
                              among.warp * Config::kStates / Config::kUnits * shares +
                              source * share + lane.g * kPairs +
                              among.warp * Config::kStates % Config::kUnits / 2 + lane.t;
  // The tiles of columns from here on are of parts that there are not.
  const int column_tiles = (parts * Config::kUnits - among.warp * Config::kStates) / 8;
  // What was left for a row of this thread's unit under a tag.
  const auto add_shares = [&](const TaggedPair* all_shares, uint32_t tag, int tile) {
    constexpr int kAtOnce = 8;
    const TaggedPair* from =
        all_shares + for_this + (tag % 2 != 0 ? half : 0) + tile * kTileRows * kPairs;
    float x = 0, y = 0;
    for (int left_over = sources - adder; left_over > 0; left_over -= kAdders * kAtOnce) {
      TaggedPair shares_of[kAtOnce];
      for (bool all = false; !all; spin()) {
        all = true;
#pragma unroll
        for (int i = 0; i < kAtOnce; ++i) {
          shares_of[i] = poll(from + i * kAdders * share, i * kAdders < left_over, tag);
        }
#pragma unroll
        for (int i = 0; i < kAtOnce; ++i) {
          all = all && tag_of(shares_of[i].x) == tag && tag_of(shares_of[i].y) == tag;
        }
      }
#pragma unroll
      for (int i = 0; i < kAtOnce; ++i) {
        x += value_of(shares_of[i].x);
        y += value_of(shares_of[i].y);
      }
      from += kAtOnce * kAdders * share;
    }
#pragma unroll
    for (int apart = kLanesApart; apart < kWarp; apart *= 2) {
      x += __shfl_xor_sync(0xffffffffu, x, apart);
      y += __shfl_xor_sync(0xffffffffu, y, apart);
    }
    return adder == 0 ? x : y;
  };
  // A warp waits until the layer below has read so many steps.
  [[maybe_unused]] const auto wait_for_below = [&](uint32_t count) {
    for (bool all = false; !all; spin()) {
      all = true;
      for (int part = lane_number; part < parts; part += kWarp) {
        all = all && poll(d.read_below + block.group * parts + part) >= count;
      }
      all = __all_sync(0xffffffffu, all);
    }
  };
  // Nothing is calculated with what it reads, so that nothing waits for it before the shares.
  const auto start = [&](int row, int of_group, bool later) {
    BackwardElement<Cell> e;
    const float* gates = d.gates + row * Cell::kBlocks * a.hidden + unit;
    const int of_state = (block.first_row + of_group) * a.hidden + unit;
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
  };

  StepRows after{0, 0}, now = d.steps[d.steps.count - 1];
  uint32_t tag = 0;
  for (int i = d.steps.count - 1; i >= 0; --i) {
    const StepRows current = now;
    const int rows = block.rows_of(current), later_rows = block.rows_of(after);
    after = current;
    now = d.steps[i - 1];
    const bool passes_on = i > 0 || a.needs_dh0;
    const bool passes_down = kWavefront && d.to_below != nullptr;
    const int most = max(rows, a.needs_dh0 ? later_rows : 0);
    for (int tile = 0; tile * kTileRows < most; ++tile) {
      const int of_group = tile * kTileRows + own_row;
      const int row = current.row + sequence + tile * kTileRows;
      const bool own = has_unit && of_group < rows, later = of_group < later_rows;
      BackwardElement<Cell> e{};
      if (own) e = start(row, of_group, later);
      // All rows of a tile are left, also those without a sequence.
      const bool left_for_this =
          (!kClustered || block.unit_tile < parts) && tile * kTileRows < later_rows;
      const float shares_sum = left_for_this ? add_shares(d.left, tag, tile) : 0.0f;
      const float from_later = later ? shares_sum : 0.0f;
      if (kWavefront && d.from_above != nullptr && tile * kTileRows < rows) {
        e.dy = add_shares(d.from_above, tag + 1, tile);
        if (d.dropout.random != nullptr) e.dy *= d.dropout.of(row * a.hidden + unit);
      }
      const int of_state = (sequence + tile * kTileRows) * a.hidden + unit;
      if (own) {
        float dh_prev = 0, dc_prev = 0;
        Cell::backward(e.s, e.h, e.c, e.dy + e.dh_end + e.direct + from_later, e.dc, dh_prev,
                       dc_prev);
        if (Cell::kDirectH) d.dh[of_state] = dh_prev;
        if (Cell::kHasC) d.dc[of_state] = dc_prev;
      } else if (has_unit && later && a.needs_dh0) {
        // The sequence begins with the step that is later.
        d.dh[of_state] = from_later + (Cell::kDirectH ? d.dh[of_state] : 0.0f);
      }
      const auto store_gates = [&] {
        float* gates = d.gates + row * Cell::kBlocks * a.hidden + unit;
#pragma unroll
        for (int b = 0; b < Cell::kBlocks; ++b) gates[b * a.hidden] = e.s[b];
      };
      if (tile * kTileRows >= rows || !(passes_on || passes_down)) {
        if (own) store_gates();
        continue;
      }
      __syncthreads();  // the gradients before have been read
      if (kWavefront && threadIdx.x == 0 && d.read != nullptr && (tile + 1) * kTileRows >= rows) {
        publish(d.read + block.group * parts + block.unit_tile, tag + 1);
      }
      if (adder < 2) {
#pragma unroll
        for (int gate = 0; gate < kMultiplied; ++gate) {
          set_column<Config::kPrecision>(shared + own_row * kStride,
                                         gate * Config::kUnits + own_unit, kTileRows * kStride,
                                         with_canonical_nan(own ? e.s[gate] : 0.0f));
        }
      }
      __syncthreads();
      const int to_tile = (tag % 2 != 0 ? 0 : half) + tile * kTileRows * kPairs;
      if (multiplies && (of_below || passes_on)) {
        // The half was written two steps before.
        if (of_below && tag > 0) wait_for_below(tag - 1);
        const uint32_t* gradients =
            shared + (of_below ? Cell::kInputBlock * Config::kUnits / Config::kOfWord : 0);
        multiply_gates<Config, kStride>(
            gradients, lane, w, [&](int columns, int row_of_tile, float x, float y) {
              if (columns >= column_tiles) return;
              if constexpr (kClustered) {
                cluster.give(lane.warp * Config::kSteps + columns, row_of_tile, x, y);
              } else {
                publish(by_this + to_tile + columns * 8 / Config::kUnits * shares +
                            columns * 8 % Config::kUnits / 2 + row_of_tile * kPairs,
                        x, y, tag + 1);
              }
            });
      }
      if constexpr (kClustered) cluster.arrive();
      if (own) store_gates();
      if constexpr (kClustered) {
        cluster.wait();
        cluster.take([&](int part, int row_of_tile, int pair_of_part, float x, float y) {
          publish(
              left + to_tile + part * shares + source * share + row_of_tile * kPairs + pair_of_part,
              x, y, tag + 1);
        });
      }
    }
    if (rows > 0 && passes_on) tag += 1;
  }
  const int rows = block.rows_of(after);
  if (!a.needs_dh0 || (kClustered && block.unit_tile >= parts)) return;
  for (int tile = 0; tile * kTileRows < rows; ++tile) {
    const float sum = add_shares(d.left, tag, tile);
    if (!has_unit || tile * kTileRows + own_row >= rows) continue;
    float& to = d.dh[(sequence + tile * kTileRows) * a.hidden + unit];
    to = sum + (Cell::kDirectH ? to : 0.0f);
  }
}

using BackwardKernel = PersistentKernel<PersistentBackward>;

// Kernels of files of their own, for weights that fit the registers.
BackwardKernel clustered_backward_kernel(CellKind kind, const Tiling& tiling);
BackwardKernel wavefront_backward_kernel(CellKind kind, const Tiling& tiling);

}  // namespace fused_rnn::cuda
