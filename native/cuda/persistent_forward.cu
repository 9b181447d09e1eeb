// The time loop of the forward pass in one kernel.
//
// A step of a block: (1) each warp reads its eighth of the states, asking until the group's blocks
// have written them, straight into the layout that the tensor cores want, and multiplies it by its
// weights, (2) the warps' sums meet in shared memory, where a thread for each unit of each row adds
// them and computes the cell, (3) the new states are written, at places where kAbsent was; what
// else is kept is stored after that.
#include "cuda/elements.h"
#include "cuda/persistent_kernels.h"

namespace fused_rnn::cuda {
namespace {

struct ForwardDirection {
  Steps steps;
  const float* w_hh;  // [G*H, H]
  const float* bias;
  StepInput input;
  float *gates, *h_prev, *c_prev, *y, *hn, *cn;
};

struct PersistentForward {
  ForwardDirection directions[2];
  int64_t hidden, y_ld;
  int parts, groups, tiles;
  bool fours;  // rows of states and weights begin at multiples of 16 bytes
};

template <class Cell>
__device__ ForwardStep forward_step(const ForwardDirection& d, const PersistentForward& a,
                                    const Place& place, const Step& now, const Step& next) {
  const int64_t h = a.hidden, row = now.row + place.first_row, after = next.row + place.first_row;
  ForwardStep step{};
  step.rows = place.rows_of(now);
  step.going_on = min(place.rows_of(now), place.rows_of(next));
  step.hidden = h;
  step.bias = d.bias;
  step.input = d.input;
  if (step.input.index != nullptr) {
    step.input.index += row;
  } else {
    step.input.values += row * step.input.row_stride;
  }
  if (d.gates != nullptr) step.gates = d.gates + row * Cell::kBlocks * h;
  if (Cell::kDirectH) step.h_prev = d.h_prev + row * h;
  if (Cell::kHasC) {
    step.c_prev = d.c_prev + row * h;
    step.c_next = d.c_prev + after * h;
    step.c_end = d.cn + place.first_row * h;
  }
  step.h = d.y + row * a.y_ld;
  step.h_ld = a.y_ld;
  step.h_next = d.h_prev + after * h;
  step.h_end = d.hn + place.first_row * h;
  return step;
}

template <class S>
__device__ void load_weights(const float* w_hh, int hidden, int first_unit, bool fours,
                             const LanePlace& lane, typename S::Weights& w) {
#pragma unroll
  for (int pair = 0; pair < S::kSteps / 2; ++pair) {
    const int k = lane.warp * S::kStates + pair * 16 + lane.t * 4;
#pragma unroll
    for (int tile = 0; tile < S::kColumnTiles; ++tile) {
      const int column = tile * 8 + lane.g, gate = column / S::kUnits;
      const int unit = first_unit + column % S::kUnits;
      const bool there = unit < hidden;
      const float4 x = ask_four(w_hh + (int64_t{gate} * hidden + (there ? unit : 0)) * hidden, k,
                                 there ? hidden : 0, fours);
      const float values[2][2] = {{x.x, x.y}, {x.z, x.w}};
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const Split<S::kParts> split(values[i / 2][i % 2]);
#pragma unroll
        for (int p = 0; p < S::kParts; ++p) {
          w[2 * pair + i / 2][tile][p][i % 2] = split.part[p];
        }
      }
    }
  }
}

// A tile's products of the states of one warp: sums[tile of columns].
template <class S>
__device__ void multiply_states(const float* states, int rows, int hidden, bool fours,
                                const LanePlace& lane, const typename S::Weights& w,
                                float (&sums)[S::kColumnTiles][4]) {
  // Pairs of steps whose states are waited for at once; those of all may take too many registers.
  constexpr bool kTight = 2 * S::kSteps * S::kColumnTiles * S::kParts + 4 * S::kSteps >= 192;
  constexpr int kPairs = S::kSteps / (kTight ? 4 : 2);
#pragma unroll
  for (int tile = 0; tile < S::kColumnTiles; ++tile) {
#pragma unroll
    for (int i = 0; i < 4; ++i) sums[tile][i] = 0;
  }
#pragma unroll
  for (int first = 0; first < S::kSteps / 2; first += kPairs) {
    float4 low[kPairs], high[kPairs];
    for (bool all = false; !all; ask_again()) {
      all = true;
#pragma unroll
      for (int pair = 0; pair < kPairs; ++pair) {
        const int k = lane.warp * S::kStates + (first + pair) * 16 + lane.t * 4;
        low[pair] = ask_four(states + lane.g * hidden, k, lane.g < rows ? hidden : 0, fours);
        high[pair] =
            ask_four(states + (lane.g + 8) * hidden, k, lane.g + 8 < rows ? hidden : 0, fours);
      }
#pragma unroll
      for (int pair = 0; pair < kPairs; ++pair) {
        all = all && arrived(low[pair]) && arrived(high[pair]);
      }
      all = __all_sync(0xffffffffu, all);
    }
#pragma unroll
    for (int step = 0; step < 2 * kPairs; ++step) {
      const float4 l = low[step / 2], h = high[step / 2];
      const bool even = step % 2 == 0;
      const float values[4] = {even ? l.x : l.z, even ? h.x : h.z, even ? l.y : l.w,
                               even ? h.y : h.w};
      uint32_t a[S::kParts][4];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const Split<S::kParts> split(values[i]);
#pragma unroll
        for (int p = 0; p < S::kParts; ++p) a[p][i] = split.part[p];
      }
      multiply_tiles<S::kParts>(
          sums, a, [&](int tile) -> auto& { return w[2 * first + step][tile]; });
    }
  }
}

template <class Cell, class S>
__global__ void __launch_bounds__(kPersistentThreads, 1)
    persistent_forward_kernel(const __grid_constant__ PersistentForward a) {
  // So that the threads of a warp read from different banks.
  constexpr int kStride = S::kColumns + (Cell::kGates % 2 == 0 ? S::kUnits : 0);
  FUSED_RNN_SHARED(float, shared, S::kWarps * kTileRows * kStride);
  const Place place(a.parts, a.groups, a.tiles, S::kUnits);
  const LanePlace lane;
  const ForwardDirection& d = a.directions[place.direction];
  typename S::Weights w;
  load_weights<S>(d.w_hh, static_cast<int>(a.hidden), place.first_unit, a.fours, lane, w);
  // Warps beyond the states have nothing to multiply.
  const int warps = static_cast<int>(min((a.hidden + S::kStates - 1) / S::kStates,
                                         static_cast<int64_t>(S::kWarps)));

  const int own_row = static_cast<int>(threadIdx.x) / S::kUnits;
  const int own_unit = static_cast<int>(threadIdx.x) % S::kUnits;
  const int unit = place.first_unit + own_unit;
  const auto own = [&](int tile, int rows) {
    return own_row < kTileRows && unit < a.hidden && tile * kTileRows + own_row < rows;
  };

  Step now = d.steps[0];
  for (int64_t i = 0; i < d.steps.count; ++i) {
    const Step next = d.steps[i + 1];
    const int rows = place.rows_of(now);
    Step current = now;
    now = next;
    if (rows == 0) continue;
    ForwardElement<Cell> element{};
    if (own(0, rows)) {
      element = start_element<Cell>(forward_step<Cell>(d, a, place, current, next), own_row, unit);
    }
    const float* states = d.h_prev + (current.row + place.first_row) * a.hidden;
    const int tiles = (rows + kTileRows - 1) / kTileRows;
    for (int tile = 0; tile < tiles; ++tile) {
      const int row = tile * kTileRows + own_row;
      if (tile > 0) {
        const ForwardStep step = forward_step<Cell>(d, a, place, current, next);
        if (own(tile - 1, rows)) store_element<Cell>(step, row - kTileRows, unit, element);
        if (own(tile, rows)) element = start_element<Cell>(step, row, unit);
      }
      float sums[S::kColumnTiles][4];
      if (lane.warp < warps) {
        multiply_states<S>(states + tile * kTileRows * a.hidden,
                           rows - tile * kTileRows, static_cast<int>(a.hidden), a.fours, lane,
                           w, sums);
      }
      __syncthreads();  // the sums before have been read
      if (lane.warp < warps) {
        float* to = shared + (lane.warp * kTileRows + lane.g) * kStride + 2 * lane.t;
#pragma unroll
        for (int j = 0; j < S::kColumnTiles; ++j) {
          *reinterpret_cast<float2*>(to + 8 * j) = make_float2(sums[j][0], sums[j][1]);
          *reinterpret_cast<float2*>(to + 8 * kStride + 8 * j) =
              make_float2(sums[j][2], sums[j][3]);
        }
      }
      __syncthreads();
      if (own(tile, rows)) {
        forget(current.row);
        const ForwardStep step = forward_step<Cell>(d, a, place, current, next);
        const float* from = shared + own_row * kStride + own_unit;
        advance_element<Cell>(step, row, unit, element, [&](int gate) {
          float sum = 0;
          for (int v = 0; v < warps; ++v) {
            sum += from[v * kTileRows * kStride + gate * S::kUnits];
          }
          return sum;
        });
      }
    }
    if (own(tiles - 1, rows)) {
      const ForwardStep step = forward_step<Cell>(d, a, place, current, next);
      store_element<Cell>(step, (tiles - 1) * kTileRows + own_row, unit, element);
    }
  }
}

using ForwardKernel = void (*)(PersistentForward);

template <class Cell>
ForwardKernel forward_kernel(const Division& division) {
  ForwardKernel kernel = nullptr;
  for_each_share<Cell>([&](auto share) {
    using S = decltype(share);
    if (is_share<S>(division)) kernel = persistent_forward_kernel<Cell, S>;
  });
  return kernel;
}

ForwardKernel forward_kernel(CellKind kind, const Division& division) {
  return with_cell(kind, [&](auto cell) { return forward_kernel<decltype(cell)>(division); });
}

}  // namespace

int persistent_room_forward(CellKind cell, const Division& division, CudaDevice& device) {
  return room_for(forward_kernel(cell, division), device);
}

void run_persistent(const std::vector<ForwardLoop>& loops, const Division& division,
                    CudaDevice& device) {
  const RnnShape& s = loops[0].shape;
  const Lane lane = main_lane(device);
  const PersistentPlans plans(loops, device);
  PersistentForward a{};
  a.hidden = s.hidden;
  a.y_ld = s.directions * s.hidden;
  a.parts = division.parts;
  a.groups = division.groups;
  a.tiles = division.tiles;
  a.fours = s.hidden % 4 == 0;
  for (size_t i = 0; i < loops.size(); ++i) {
    const ForwardLoop& l = loops[i];
    check(cudaMemsetAsync(l.saved.h_prev, kAbsentByte,
                          static_cast<size_t>(s.rows * s.hidden) * sizeof(float), lane.stream),
          "cudaMemsetAsync");
    queue_starts(l, 0, l.plan.count(), lane);
    a.directions[i] = {.steps = {plans.plan(i), l.plan.count(), s.batch, i == 1},
                       .w_hh = l.w_hh,
                       .bias = l.bias,
                       .input = l.input,
                       .gates = l.keep ? l.saved.gates : nullptr,
                       .h_prev = l.saved.h_prev,
                       .c_prev = l.saved.c_prev,
                       .y = l.y,
                       .hn = l.hn,
                       .cn = l.cn};
    a.fours = a.fours && aligned16(l.w_hh) && aligned16(l.saved.h_prev);
  }
  launch_together(forward_kernel(s.cell, division), blocks_of(loops.size(), division),
                  dim3(kPersistentThreads), 0, lane.stream, a);
}

}  // namespace fused_rnn::cuda
