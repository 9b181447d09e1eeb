// Pieces of the persistent forward kernels: persistent_forward.cu, which tells how they work, and
// experimental/wavefront_forward.cu. For .cu files.
#pragma once

#include "cuda/rnn/persistent_kernels.h"

namespace fused_rnn::cuda {

// The arguments of one direction (or layer), in device memory. rows: of the packed input, one for
// each sequence of each step. G, B: gates and gate-matrix blocks of the cell (cells/cell.h).
struct ForwardDirection {
  Steps steps;
  const float* w_hh;  // [G*H, H], PyTorch's gate order
  const float* bias;  // [B*H], or null for zeros
  StepInput input;    // W_ih x of every row, [rows, G*H] with strides of its own
  float* gates;       // [rows, B*H]: where activations are kept for the backward pass, or null
  float* h_prev;      // [rows, H]: h(t-1) of each row; kEmpty until the step before publishes it
  float* c_prev;      // [rows, H]: c(t-1), cells that have one
  float* y;           // [rows, y_ld]: this direction's columns of the output
  float* hn;          // [N, H]: each sequence's last h, and
  float* cn;          // [N, H]: its last c
};

// ---- Weights and the product with the states ----------------------------------------------------

// A lane's share of a warp's weights: of 8 words of states and 8 columns each.
template <class Config>
using ForwardWeights = Weights<Config, Config::kColumnTiles>;

// w[G*H, H]: the rows of this block's units (column `gate * kUnits + u` of the product is gate
// `gate` of unit first_unit + u), the columns of the kStates states that lane.warp multiplies.
template <class Config>
__device__ void load_weights(const float* w_hh, int hidden, int first_unit, bool fours,
                             const WarpLane& lane, ForwardWeights<Config>& w) {
#pragma unroll
  for (int pair = 0; pair < Config::kSteps / 2; ++pair) {
    const int k = lane.warp * Config::kStates + pair * 16 + lane.t * 4;
#pragma unroll
    for (int tile = 0; tile < Config::kColumnTiles; ++tile) {
      const int column = tile * 8 + lane.g, gate = column / Config::kUnits;
      const int unit = first_unit + column % Config::kUnits;
      const bool there = unit < hidden;
      const float4 x = poll_four(w_hh + (int64_t{gate} * hidden + (there ? unit : 0)) * hidden, k,
                                 there ? hidden : 0, fours);
      const Words<Config::kPrecision> words(
          make_float4(with_canonical_nan(x.x), with_canonical_nan(x.y), with_canonical_nan(x.z),
                      with_canonical_nan(x.w)));
      constexpr int kWords = 4 / Config::kOfWord;
#pragma unroll
      for (int i = 0; i < kWords; ++i) {
#pragma unroll
        for (int p = 0; p < Config::kTerms; ++p) {
          w(pair * kWords / 2 + i / 2, tile)[p][i % 2] = words.word[i].term[p];
        }
      }
    }
  }
}

// sums[tile of 8 columns] = states[16 rows, this warp's kStates of H] W^T: polls the states until
// all have been published, straight into the layout that the tensor cores want.
template <class Config>
__device__ void multiply_states(const float* states, int rows, int hidden, bool fours,
                                const WarpLane& lane, ForwardWeights<Config>& w,
                                float (&sums)[Config::kColumnTiles][4]) {
  // Pairs of steps whose states are polled at once; those of all may take too many registers, of
  // which the compiler uses more on older architectures.
  constexpr int kRegisters = 2 * Config::kHeldTiles * Config::kTerms + 4 * Config::kSteps;
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 900
  constexpr int kPairs = Config::kSteps / (kRegisters >= 192 || Config::kSteps > 16 ? 8
                                           : kRegisters >= 160                      ? 4
                                                                                    : 2);
#else
  constexpr int kPairs = Config::kSteps / (kRegisters >= 192 || Config::kSteps > 16 ? 4 : 2);
#endif
#pragma unroll
  for (int tile = 0; tile < Config::kColumnTiles; ++tile) {
#pragma unroll
    for (int i = 0; i < 4; ++i) sums[tile][i] = 0;
  }
#pragma unroll
  for (int first = 0; first < Config::kSteps / 2; first += kPairs) {
    float4 low[kPairs], high[kPairs];
    for (bool all = false; !all; spin()) {
      all = true;
#pragma unroll
      for (int pair = 0; pair < kPairs; ++pair) {
        const int k = lane.warp * Config::kStates + (first + pair) * 16 + lane.t * 4;
        low[pair] = poll_four(states + lane.g * hidden, k, lane.g < rows ? hidden : 0, fours);
        high[pair] =
            poll_four(states + (lane.g + 8) * hidden, k, lane.g + 8 < rows ? hidden : 0, fours);
      }
#pragma unroll
      for (int pair = 0; pair < kPairs; ++pair) {
        all = all && ready(low[pair]) && ready(high[pair]);
      }
      all = __all_sync(0xffffffffu, all);
    }
#pragma unroll
    for (int pair = 0; pair < kPairs; ++pair) {
      const Words<Config::kPrecision> l(low[pair]), h(high[pair]);
      constexpr int kProducts = 2 / Config::kOfWord;
#pragma unroll
      for (int i = 0; i < kProducts; ++i) {
        uint32_t a[Config::kTerms][4];
#pragma unroll
        for (int p = 0; p < Config::kTerms; ++p) {
          a[p][0] = l.word[2 * i].term[p];
          a[p][1] = h.word[2 * i].term[p];
          a[p][2] = l.word[2 * i + 1].term[p];
          a[p][3] = h.word[2 * i + 1].term[p];
        }
        multiply_tiles<Config::kPrecision>(
            sums, a, [&](int tile) -> auto& { return w((first + pair) * kProducts + i, tile); });
      }
    }
  }
}

// The warps' sums in shared memory: [warps, kTileRows, kStride].
template <class Cell, class Config>
struct WarpSums {
  // So that the threads of a warp read from different banks.
  static constexpr int kStride = Config::kColumns + (Cell::kGates % 2 == 0 ? Config::kUnits : 0);
  static constexpr int kOfWarp = kTileRows * kStride;
  static constexpr int kFloats = Config::kWarps * kOfWarp;
  float* shared;

  __device__ void clear() const {
    for (int i = static_cast<int>(threadIdx.x); i < kFloats; i += kPersistentThreads) shared[i] = 0;
  }
  __device__ void store(const WarpLane& lane, const float (&sums)[Config::kColumnTiles][4]) const {
    float* to = shared + lane.warp * kOfWarp + lane.g * kStride + 2 * lane.t;
#pragma unroll
    for (int j = 0; j < Config::kColumnTiles; ++j) {
      *reinterpret_cast<float2*>(to + 8 * j) = make_float2(sums[j][0], sums[j][1]);
      *reinterpret_cast<float2*>(to + 8 * kStride + 8 * j) = make_float2(sums[j][2], sums[j][3]);
    }
  }
  // gate += the sum of warp `warp` for a unit of a row.
  __device__ void add(int warp, int gate, int row, int unit, float& to) const {
    const float* from = shared + row * kStride + unit;
    to += from[warp * kOfWarp + gate * Config::kUnits];
  }
};

// ---- One unit of one row, by the thread that owns it --------------------------------------------

// Which one that is, the same for every tile of rows. Some threads own none.
template <class Config>
struct ForwardThread {
  int row;           // of a tile of kTileRows
  int unit_of_tile;  // of the block's unit tile
  int unit;          // of the layer
  int sequence;      // of the batch, in the first tile of rows
  bool has_unit;

  __device__ ForwardThread(const BlockTile& block, int hidden)
      : row(static_cast<int>(threadIdx.x) / Config::kUnits),
        unit_of_tile(static_cast<int>(threadIdx.x) % Config::kUnits),
        unit(block.first_unit + unit_of_tile),
        sequence(block.first_row + row),
        has_unit(row < kTileRows && unit < hidden) {}
};

// What the cell needs besides W_hh h(t-1).
template <class Cell>
struct ForwardElement {
  float x[Cell::kGates];  // W_ih x, gates in PyTorch's order: LSTM i, f, g, o; GRU r, z, n
  float h,
      c;  // h(t-1), c(t-1) of this unit, which this thread has written itself; cells that use them
};

// Nothing is calculated with what it reads, so that nothing waits for it before the states.
template <class Cell>
__device__ __forceinline__ ForwardElement<Cell> load_element(const ForwardDirection& d, int hidden,
                                                             int row, int unit,
                                                             bool has_input = true) {
  const int row_stride = static_cast<int>(d.input.row_stride);
  const int unit_stride = static_cast<int>(d.input.unit_stride);
  int from = row;
  if (d.input.index != nullptr) {
    // What is out of range has been reported by the operation that checked the indices.
    from = d.input.index[row];
    if (from < 0 || from >= d.input.classes) from = 0;
  }
  const float* at = d.input.values + static_cast<int64_t>(from) * row_stride +
                    static_cast<int64_t>(unit) * unit_stride;
  ForwardElement<Cell> e;
#pragma unroll
  for (int gate = 0; gate < Cell::kGates; ++gate) {
    e.x[gate] = has_input ? at[static_cast<int64_t>(gate * hidden) * unit_stride] : 0.0f;
  }
  e.h = Cell::kDirectH ? d.h_prev[row * hidden + unit] : 0.0f;
  e.c = Cell::kHasC ? d.c_prev[row * hidden + unit] : 0.0f;
  return e;
}

// s = bias + the products that meet in each block of the gate matrix: LSTM i, f, g, o, of both
// products; GRU q (of h alone), r, z (of both), n (of x alone).
template <class Cell, int... block>
__device__ inline void add_up(float (&s)[Cell::kBlocks], const float (&bias)[Cell::kBlocks],
                              const float (&x)[Cell::kGates], const float (&product)[Cell::kGates],
                              std::integer_sequence<int, block...>) {
  const auto add = [&](auto index) {
    constexpr int kBlock = decltype(index)::value;
    constexpr int kGate = kHiddenGate<Cell, kBlock>;
    s[kBlock] = bias[kBlock];
    if constexpr (kBlock >= Cell::kInputBlock) s[kBlock] += x[kBlock - Cell::kInputBlock];
    if constexpr (kGate >= 0) s[kBlock] += product[kGate];
  };
  (add(std::integral_constant<int, block>{}), ...);
}

// ---- Launches -----------------------------------------------------------------------------------

inline void fill_empty(float* array, const RnnShape& s, const LaunchStream& on) {
  check(cudaMemsetAsync(array, kEmptyByte, static_cast<size_t>(s.rows * s.hidden) * sizeof(float),
                        on.stream),
        "cudaMemsetAsync");
}

// Makes h_prev ready for a loop: kEmpty but for the initial states.
inline ForwardDirection prepare_direction(const ForwardLoop& l, const StepRows* plan, bool reverse,
                                          const LaunchStream& on) {
  fill_empty(l.saved.h_prev, l.shape, on);
  queue_starts(l, 0, l.plan.count(), on);
  return {
      .steps = {plan, static_cast<int>(l.plan.count()), static_cast<int>(l.shape.batch), reverse},
      .w_hh = l.w_hh,
      .bias = l.bias,
      .input = l.input,
      .gates = l.keep ? l.saved.gates : nullptr,
      .h_prev = l.saved.h_prev,
      .c_prev = l.saved.c_prev,
      .y = l.y,
      .hn = l.hn,
      .cn = l.cn};
}

}  // namespace fused_rnn::cuda
