// The time loop of the forward pass in one kernel.
//
// A step of a block: (1) each warp reads its eighth of the states, asking until the group's blocks
// have written them, straight into the layout that the tensor cores want, and multiplies it by its
// weights, (2) the warps' sums meet in shared memory, where a thread for each unit of each row adds
// them and computes the cell, (3) the new states are written, at places where kEmpty was; what
// else is kept is stored after that.
//
// In a wavefront, where the loops are a call's layers, half of the warps multiply the states and
// half the output of the layer below, which its blocks announce as they do states; so it needs no
// product beforehand.
#include "cuda/rnn/persistent_kernels.h"

namespace fused_rnn::cuda {
namespace {

struct ForwardDirection {
  Steps steps;
  const float* w_hh;  // [G*H, H]
  const float* bias;
  StepInput input;
  float *gates, *h_prev, *c_prev, *y, *hn, *cn;
  // In a wavefront:
  const float *w_ih = nullptr, *below = nullptr;  // [G*H, H], [rows, H], above another layer
  bool feeds = false;                             // y is read by the layer above
  DropoutFactors dropout = {};                    // of y then, unless `random` is null
};

struct PersistentForward {
  ForwardDirection loops[kMostLoops];  // directions, or layers
  int hidden, y_ld;
  int unit_tiles, groups, row_tiles;
  bool fours;  // rows of states and weights begin at multiples of 16 bytes
};

// s = bias + the products that meet in each block.
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

// Of 8 words of states and 8 columns each.
template <class Config>
using ForwardWeights = Weights<Config, Config::kColumnTiles>;

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

// A tile's products of the states of one warp: sums[tile of columns].
template <class Config>
__device__ void multiply_states(const float* states, int rows, int hidden, bool fours,
                                const WarpLane& lane, ForwardWeights<Config>& w,
                                float (&sums)[Config::kColumnTiles][4]) {
  // Pairs of steps whose states are waited for at once; those of all may take too many registers,
  // of which the compiler uses more on older architectures.
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

// What a unit of a row has from outside.
template <class Cell>
struct ForwardElement {
  float x[Cell::kGates];
  float h, c;
};

template <class Cell, class Config, bool kWavefront>
__global__ void __launch_bounds__(kPersistentThreads, 1)
    persistent_forward_kernel(const __grid_constant__ PersistentForward a) {
  // So that the threads of a warp read from different banks.
  constexpr int kStride = Config::kColumns + (Cell::kGates % 2 == 0 ? Config::kUnits : 0);
  constexpr int kOfWarp = kTileRows * kStride;
  FUSED_RNN_SHARED(float, shared, Config::kWarps* kOfWarp);
  const BlockTile block(a.unit_tiles, a.groups, a.row_tiles, Config::kUnits);
  const WarpLane lane;
  const ForwardDirection& d = a.loops[block.loop];
  // What this warp multiplies, and its place among those that share it out.
  constexpr int kFirstOfStates = kWavefront ? Config::kWarps / 2 : 0;
  const bool of_below = kWavefront && lane.warp < kFirstOfStates;
  WarpLane among = lane;
  if (!of_below) among.warp -= kFirstOfStates;
  const float* const states = of_below ? d.below : d.h_prev;
  // Warps beyond the states have nothing to multiply: their sums stay zeros.
  const bool multiplies =
      (!kWavefront || states != nullptr) && among.warp * Config::kStates < a.hidden;
  ForwardWeights<Config> w;
  load_weights<Config>(of_below && multiplies ? d.w_ih : d.w_hh, a.hidden, block.first_unit,
                       a.fours, among, w);
  for (int i = static_cast<int>(threadIdx.x); i < Config::kWarps * kOfWarp;
       i += kPersistentThreads) {
    shared[i] = 0;
  }

  const int own_row = static_cast<int>(threadIdx.x) / Config::kUnits;
  const int own_unit = static_cast<int>(threadIdx.x) % Config::kUnits;
  const int unit = block.first_unit + own_unit;
  const bool has_unit = own_row < kTileRows && unit < a.hidden;
  const int sequence = block.first_row + own_row;
  float bias[Cell::kBlocks];
  for (int b = 0; b < Cell::kBlocks; ++b) {
    bias[b] = d.bias != nullptr && has_unit ? d.bias[b * a.hidden + unit] : 0.0f;
  }
  const int row_stride = static_cast<int>(d.input.row_stride);
  const int unit_stride = static_cast<int>(d.input.unit_stride);
  // Nothing is calculated with what it reads, so that nothing waits for it before the states.
  const auto start = [&](int row) {
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
      const bool given = !kWavefront || d.below == nullptr;
      e.x[gate] = given ? at[static_cast<int64_t>(gate * a.hidden) * unit_stride] : 0.0f;
    }
    e.h = Cell::kDirectH ? d.h_prev[row * a.hidden + unit] : 0.0f;
    e.c = Cell::kHasC ? d.c_prev[row * a.hidden + unit] : 0.0f;
    return e;
  };

  __syncthreads();
  StepRows now = d.steps[0];
  for (int i = 0; i < d.steps.count; ++i) {
    const StepRows current = now, next = d.steps[i + 1];
    now = next;
    const int rows = block.rows_of(current), going_on = min(rows, block.rows_of(next));
    if (rows == 0) continue;
    const int tiles = (rows + kTileRows - 1) / kTileRows;
    float s[Cell::kBlocks] = {}, h = 0;
    const auto store = [&](int row) {
      if (!kWavefront || !d.feeds) d.y[row * a.y_ld + unit] = h;
      if (d.gates == nullptr) return;
      float* gates = d.gates + row * Cell::kBlocks * a.hidden + unit;
#pragma unroll
      for (int b = 0; b < Cell::kBlocks; ++b) gates[b * a.hidden] = s[b];
    };
    for (int tile = 0; tile < tiles; ++tile) {
      const int of_group = tile * kTileRows + own_row,
                row = current.row + sequence + tile * kTileRows;
      const bool own = has_unit && of_group < rows;
      ForwardElement<Cell> e{};
      if (own) e = start(row);
      float kept = 1;
      if (kWavefront && d.dropout.random != nullptr) kept = d.dropout.of(row * a.hidden + unit);
      float sums[Config::kColumnTiles][4];
      if (multiplies) {
        multiply_states<Config>(
            states +
                static_cast<int64_t>(current.row + block.first_row + tile * kTileRows) * a.hidden,
            rows - tile * kTileRows, a.hidden, a.fours, among, w, sums);
      }
      __syncthreads();  // the sums before have been read
      if (multiplies) {
        float* to = shared + lane.warp * kOfWarp + lane.g * kStride + 2 * lane.t;
#pragma unroll
        for (int j = 0; j < Config::kColumnTiles; ++j) {
          *reinterpret_cast<float2*>(to + 8 * j) = make_float2(sums[j][0], sums[j][1]);
          *reinterpret_cast<float2*>(to + 8 * kStride + 8 * j) =
              make_float2(sums[j][2], sums[j][3]);
        }
      }
      __syncthreads();
      if (!own) continue;
      const float* from = shared + own_row * kStride + own_unit;
      float product[Cell::kGates];
#pragma unroll
      for (int gate = 0; gate < Cell::kGates; ++gate) {
        product[gate] = 0;
#pragma unroll
        for (int v = 0; v < Config::kWarps; ++v) {
          (v < kFirstOfStates ? e.x : product)[gate] += from[v * kOfWarp + gate * Config::kUnits];
        }
      }
      add_up<Cell>(s, bias, e.x, product, std::make_integer_sequence<int, Cell::kBlocks>{});
      float c = 0;
      Cell::forward(s, e.h, e.c, h, c);
      const bool goes_on = of_group < going_on;
      const int to = (goes_on ? next.row + sequence : sequence) + tile * kTileRows;
      publish((goes_on ? d.h_prev : d.hn) + to * a.hidden + unit, h);
      if (kWavefront && d.feeds) publish(d.y + row * a.y_ld + unit, h * kept);
      if (Cell::kHasC) (goes_on ? d.c_prev : d.cn)[to * a.hidden + unit] = c;
      if (tile + 1 < tiles) store(row);
    }
    const int last = (tiles - 1) * kTileRows;
    if (has_unit && last + own_row < rows) store(current.row + sequence + last);
  }
}

using ForwardKernel = PersistentKernel<PersistentForward>;

template <class Cell>
ForwardKernel forward_kernel(const Tiling& tiling) {
  ForwardKernel kernel;
  if constexpr (!Cell::kNorms) {
    for_each_config<Cell>([&](size_t index, auto config) {
      using Config = decltype(config);
      if (index != tiling.config) return;
      if (!tiling.wavefront) {
        kernel = {persistent_forward_kernel<Cell, Config, false>, Config::kSharedBytes};
      } else if constexpr (Config::kSharedBytes == 0) {
        kernel = {persistent_forward_kernel<Cell, Config, true>};
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

namespace {

PersistentForward arguments_of(const RnnShape& s, const Tiling& tiling) {
  PersistentForward a{};
  a.hidden = static_cast<int>(s.hidden);
  a.y_ld = static_cast<int>(s.directions * s.hidden);
  a.unit_tiles = tiling.unit_tiles;
  a.groups = tiling.groups;
  a.row_tiles = tiling.row_tiles;
  a.fours = s.hidden % 4 == 0;
  return a;
}

void fill_empty(float* array, const RnnShape& s, const LaunchStream& on) {
  check(cudaMemsetAsync(array, kEmptyByte, static_cast<size_t>(s.rows * s.hidden) * sizeof(float),
                        on.stream),
        "cudaMemsetAsync");
}

void add_loop(const ForwardLoop& l, const StepRows* plan, size_t number, bool reverse,
              const LaunchStream& on, PersistentForward& a) {
  fill_empty(l.saved.h_prev, l.shape, on);
  queue_starts(l, 0, l.plan.count(), on);
  a.loops[number] = {
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
  a.fours = a.fours && aligned16(l.w_hh) && aligned16(l.saved.h_prev);
}

}  // namespace

void run_persistent(const std::vector<ForwardLoop>& loops, const Tiling& tiling,
                    CudaDevice& device) {
  const RnnShape& s = loops[0].shape;
  const LaunchStream on = main_stream(device);
  const PersistentPlans plans(loops, device);
  PersistentForward a = arguments_of(s, tiling);
  for (size_t i = 0; i < loops.size(); ++i) add_loop(loops[i], plans.plan(i), i, i == 1, on, a);
  launch_persistent(forward_kernel(s.cell, tiling), blocks_of(loops.size(), tiling), on.stream, a);
}

void run_wavefront(const std::vector<ForwardLoop>& layers, const std::vector<Feed>& feeds,
                   const Tiling& tiling, CudaDevice& device) {
  const RnnShape& s = layers[0].shape;
  const LaunchStream on = main_stream(device);
  // All have the same.
  const PersistentPlans plans(std::vector<ForwardLoop>{layers[0]}, device);
  PersistentForward a = arguments_of(s, tiling);
  for (size_t i = 0; i < layers.size(); ++i) {
    add_loop(layers[i], plans.plan(0), i, false, on, a);
    if (i == 0) continue;
    const Feed& feed = feeds[i];
    a.loops[i].w_ih = feed.products[0].b;
    a.loops[i].below = layers[i - 1].y;
    a.fours = a.fours && aligned16(a.loops[i].w_ih) && aligned16(a.loops[i].below);
    a.loops[i - 1].feeds = true;
    if (feed.dropped != nullptr) a.loops[i - 1].dropout = DropoutFactors(feed);
    fill_empty(layers[i - 1].y, s, on);
  }
  launch_persistent(forward_kernel(s.cell, tiling), blocks_of(layers.size(), tiling), on.stream, a);
}

}  // namespace fused_rnn::cuda
