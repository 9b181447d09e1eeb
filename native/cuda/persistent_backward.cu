// The time loop of the backward pass in one kernel.
//
// A step of a block: (1) a thread for each unit of each row adds up what the parts of the group
// leave for that unit in the step that is later in time, asking until it is there, and computes the
// cell's gradients, (2) they meet in shared memory, and each warp multiplies them by the block's rows of W_hh, for an
// eighth of the states, (3) the products, this part's shares of the gradient of h(t-1), are left
// for the parts that have those units.
#include "cuda/persistent_kernels.h"

namespace fused_rnn::cuda {
namespace {

struct BackwardDirection {
  Steps steps;
  const float* w_hh;  // [G*H, H], its gates in the order of the gate matrix's blocks
  float* gates;
  const float *h_prev, *c_prev, *dy, *dhn, *dcn;
  float *dh, *dc;
  // [2, groups, parts (whose units), parts (who left it), rows of a group, pairs of units]
  TaggedPair* left;
};

struct PersistentBackward {
  BackwardDirection directions[2];
  int64_t hidden, dy_ld;
  int parts, groups, tiles;
  bool needs_dh0;
};

template <class Cell>
__device__ BackwardStep backward_step(const BackwardDirection& d, const PersistentBackward& a,
                                      const Place& place, const Step& now, const Step& after) {
  const int64_t h = a.hidden, row = now.row + place.first_row;
  BackwardStep step{};
  step.rows = place.rows_of(now);
  step.dh_rows = step.dc_rows = place.rows_of(after);
  step.hidden = h;
  step.gates = d.gates + row * Cell::kBlocks * h;
  if (Cell::kDirectH) step.h_prev = d.h_prev + row * h;
  if (Cell::kHasC) step.c_prev = d.c_prev + row * h;
  step.dy_ld = a.dy_ld;
  if (d.dy != nullptr) step.dy = d.dy + row * a.dy_ld;
  if (d.dhn != nullptr) step.dhn = d.dhn + place.first_row * h;
  if (d.dcn != nullptr) step.dcn = d.dcn + place.first_row * h;
  step.dh = d.dh + place.first_row * h;
  step.dc = d.dc + place.first_row * h;
  return step;
}

// Of a warp: 8 * kColumnTiles rows of W_hh, of the part's gates, and kStates columns.
template <class S>
__device__ void load_weights(const float* w_hh, int64_t hidden, int first_unit,
                             const LanePlace& lane, typename S::Weights& w) {
#pragma unroll
  for (int step = 0; step < S::kSteps; ++step) {
    const int64_t n = lane.warp * S::kStates + step * 8 + lane.g;
#pragma unroll
    for (int tile = 0; tile < S::kColumnTiles; ++tile) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const int k = tile * 8 + lane.t + 4 * i, gate = k / S::kUnits;
        const int64_t unit = first_unit + k % S::kUnits;
        const bool there = unit < hidden && n < hidden;
        const Split<S::kParts> split(there ? w_hh[(gate * hidden + unit) * hidden + n] : 0.0f);
#pragma unroll
        for (int p = 0; p < S::kParts; ++p) w[step][tile][p][i] = split.part[p];
      }
    }
  }
}

// A tile's products of the gates' gradients in shared memory and one warp's columns of W_hh.
// store(column, row of the tile, x, y): two that are side by side.
template <class S, class Store>
__device__ void multiply_gates(const float* gradients, int stride, const LanePlace& lane,
                               const typename S::Weights& w, Store store) {
  // Tiles of columns; the sums of more take too many registers.
  constexpr int kAtOnce = S::kParts > 1 && S::kSteps > 4 ? 2 : 4;
  static_assert(S::kSteps % kAtOnce == 0);
#pragma unroll
  for (int first = 0; first < S::kSteps; first += kAtOnce) {
    float sums[kAtOnce][4] = {};
#pragma unroll
    for (int tile = 0; tile < S::kColumnTiles; ++tile) {
      const float* from = gradients + lane.g * stride + tile * 8 + lane.t;
      const float values[4] = {from[0], from[8 * stride], from[4], from[8 * stride + 4]};
      uint32_t a[S::kParts][4];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const Split<S::kParts> split(values[i]);
#pragma unroll
        for (int p = 0; p < S::kParts; ++p) a[p][i] = split.part[p];
      }
      multiply_tiles<S::kParts>(sums, a, [&](int i) -> auto& { return w[first + i][tile]; });
    }
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      const int column = lane.warp * S::kStates + (first + i) * 8 + 2 * lane.t;
      store(column, lane.g, sums[i][0], sums[i][1]);
      store(column, lane.g + 8, sums[i][2], sums[i][3]);
    }
  }
}

template <class Cell, class S>
__global__ void __launch_bounds__(kPersistentThreads, 1)
    persistent_backward_kernel(const __grid_constant__ PersistentBackward a) {
  // So that the lanes of a warp read from different banks.
  constexpr int kStride = S::kColumns + 4;
  // The shares of two units that are side by side are added up by so many threads, some lanes
  // apart; each of the first two has one of the units.
  constexpr int kPairs = S::kUnits / 2;
  constexpr int kAdders = kPersistentThreads / (kTileRows * kPairs);
  constexpr int kLanesApart = kWarp / kAdders;
  static_assert(kAdders >= 2 && kLanesApart % kPairs == 0);
  FUSED_RNN_SHARED(float, shared, kTileRows * kStride);
  const Place place(a.parts, a.groups, a.tiles, S::kUnits);
  const LanePlace lane;
  const BackwardDirection& d = a.directions[place.direction];
  typename S::Weights w;
  load_weights<S>(d.w_hh, a.hidden, place.first_unit, lane, w);

  const int lane_number = static_cast<int>(threadIdx.x) % kWarp;
  const int adder = lane_number / kLanesApart, pair = lane_number % kPairs;
  const int own_row = (lane.warp * kLanesApart + lane_number % kLanesApart) / kPairs;
  const int own_unit = 2 * pair + adder;
  const int unit = place.first_unit + own_unit;
  const bool has_unit = adder < 2 && unit < a.hidden;

  // Where this group's parts leave their shares, in turn in one of two halves: who writes to a half
  // again has been told shares that are of what was read from it. Tags begin at 1.
  const int64_t share = int64_t{place.most_rows} * kPairs, shares = a.parts * share;
  const int64_t half = a.groups * a.parts * shares;
  TaggedPair* const left = d.left + place.group * a.parts * shares;
  // What was left for a row of this thread's unit under a tag.
  const auto add_shares = [&](uint32_t tag, int row) {
    constexpr int kAtOnce = 8;
    const TaggedPair* from =
        left + tag % 2 * half + place.part * shares + static_cast<int64_t>(row) * kPairs + pair;
    float x = 0, y = 0;
    for (int first = adder; first < a.parts; first += kAdders * kAtOnce) {
      TaggedPair shares_of[kAtOnce];
      for (bool all = false; !all; ask_again()) {
        all = true;
#pragma unroll
        for (int i = 0; i < kAtOnce; ++i) {
          const int part = first + i * kAdders;
          shares_of[i] = part < a.parts ? ask(from + part * share)
                                        : TaggedPair{tagged(0, tag), tagged(0, tag)};
        }
#pragma unroll
        for (int i = 0; i < kAtOnce; ++i) {
          all = all && tag_of(shares_of[i].x) == tag && tag_of(shares_of[i].y) == tag;
        }
      }
#pragma unroll
      for (int i = 0; i < kAtOnce; ++i) {
        x += number_of(shares_of[i].x);
        y += number_of(shares_of[i].y);
      }
    }
#pragma unroll
    for (int apart = kLanesApart; apart < kWarp; apart *= 2) {
      x += __shfl_xor_sync(0xffffffffu, x, apart);
      y += __shfl_xor_sync(0xffffffffu, y, apart);
    }
    return adder == 0 ? x : y;
  };

  Step after{0, 0}, now = d.steps[d.steps.count - 1];
  uint32_t tag = 0;
  for (int64_t i = d.steps.count - 1; i >= 0; --i) {
    Step current = now;
    const Step later = after;
    after = now;
    now = d.steps[i - 1];
    const int rows = place.rows_of(current), later_rows = place.rows_of(later);
    if (rows == 0 && (later_rows == 0 || !a.needs_dh0)) continue;
    BackwardElement<Cell> element{};
    if (has_unit && own_row < rows) {
      element =
          start_element<Cell>(backward_step<Cell>(d, a, place, current, later), own_row, unit);
    }
    const int most = max(rows, a.needs_dh0 ? later_rows : 0);
    const bool passes_on = i > 0 || a.needs_dh0;
    for (int tile = 0; tile * kTileRows < most; ++tile) {
      const int row = tile * kTileRows + own_row;
      const bool own = has_unit && row < rows;
      if (tile > 0 && own) {
        element = start_element<Cell>(backward_step<Cell>(d, a, place, current, later), row, unit);
      }
      float dh = 0;
      // All rows of a tile are left, also those without a sequence.
      if (tile * kTileRows < later_rows) dh = add_shares(tag, row);
      forget(current.row);
      const BackwardStep step = backward_step<Cell>(d, a, place, current, later);
      if (tile * kTileRows < later_rows) {
        if (row >= later_rows) {
          dh = 0;
        } else if (Cell::kDirectH && has_unit) {
          dh += step.dh[row * a.hidden + unit];
        }
      }
      if (own) {
        finish_element<Cell>(step, row, unit, element, dh);
      } else if (has_unit && row < later_rows && row >= rows && a.needs_dh0) {
        // The sequence begins with the step that is later.
        step.dh[row * a.hidden + unit] = dh;
      }
      if (tile * kTileRows >= rows || !passes_on) continue;
      __syncthreads();  // the gradients before have been read
      if (adder < 2) {
#pragma unroll
        for (int gate = 0; gate < Cell::kGates; ++gate) {
          shared[own_row * kStride + gate * S::kUnits + own_unit] = own ? element.s[gate] : 0.0f;
        }
      }
      __syncthreads();
      // Warps beyond the states have nothing to multiply.
      if (lane.warp * S::kStates >= a.hidden) continue;
      multiply_gates<S>(shared, kStride, lane, w, [&](int n, int row_of_tile, float x, float y) {
        const int whose = n / S::kUnits;
        if (whose >= a.parts) return;
        announce(left + (tag + 1) % 2 * half + whose * shares + place.part * share +
                     (tile * kTileRows + row_of_tile) * kPairs + n % S::kUnits / 2,
                 x, y, tag + 1);
      });
    }
    if (rows > 0 && passes_on) tag += 1;
  }
  const int rows = place.rows_of(after);
  if (!a.needs_dh0 || rows == 0) return;
  float* const dh0 = d.dh + place.first_row * a.hidden;
  for (int tile = 0; tile * kTileRows < rows; ++tile) {
    const int row = tile * kTileRows + own_row;
    const float sum = add_shares(tag, row);
    if (!has_unit || row >= rows) continue;
    float& to = dh0[row * a.hidden + unit];
    to = sum + (Cell::kDirectH ? to : 0.0f);
  }
}

using BackwardKernel = void (*)(PersistentBackward);

template <class Cell>
BackwardKernel backward_kernel(const Division& division) {
  BackwardKernel kernel = nullptr;
  for_each_share<Cell>([&](auto share) {
    using S = decltype(share);
    if (is_share<S>(division)) kernel = persistent_backward_kernel<Cell, S>;
  });
  return kernel;
}

BackwardKernel backward_kernel(CellKind kind, const Division& division) {
  return with_cell(kind, [&](auto cell) { return backward_kernel<decltype(cell)>(division); });
}

}  // namespace

int persistent_room_backward(CellKind cell, const Division& division, CudaDevice& device) {
  return room_for(backward_kernel(cell, division), device);
}

void run_persistent(const std::vector<BackwardLoop>& loops, const Division& division,
                    CudaDevice& device) {
  const RnnShape& s = loops[0].shape;
  const Lane lane = main_lane(device);
  const PersistentPlans plans(loops, device);
  const int64_t left = int64_t{2} * division.groups * division.parts * division.parts *
                       division.tiles * kTileRows * division.units / 2;
  const int64_t all_left = left * static_cast<int64_t>(loops.size());
  DeviceScratch left_memory(device, all_left * int64_t{sizeof(TaggedPair) / sizeof(float)});
  // Without tags.
  check(cudaMemsetAsync(left_memory.data(), 0, static_cast<size_t>(all_left) * sizeof(TaggedPair),
                        lane.stream),
        "cudaMemsetAsync");
  PersistentBackward a{};
  a.hidden = s.hidden;
  a.dy_ld = s.directions * s.hidden;
  a.parts = division.parts;
  a.groups = division.groups;
  a.tiles = division.tiles;
  a.needs_dh0 = loops[0].needs_dh0;
  for (size_t i = 0; i < loops.size(); ++i) {
    const BackwardLoop& l = loops[i];
    a.directions[i] = {.steps = {plans.plan(i), l.plan.count(), s.batch, i == 1},
                       .w_hh = l.w_hh,
                       .gates = l.saved.gates,
                       .h_prev = l.saved.h_prev,
                       .c_prev = l.saved.c_prev,
                       .dy = l.dy,
                       .dhn = l.dhn,
                       .dcn = l.dcn,
                       .dh = l.dh,
                       .dc = l.dc,
                       .left = reinterpret_cast<TaggedPair*>(left_memory.data()) +
                               static_cast<int64_t>(i) * left};
  }
  launch_together(backward_kernel(s.cell, division), blocks_of(loops.size(), division),
                  dim3(kPersistentThreads), 0, lane.stream, a);
}

}  // namespace fused_rnn::cuda
