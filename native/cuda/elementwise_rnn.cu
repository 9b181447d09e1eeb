// Recurrent layers without a recurrent matrix: a thread for each unit of a sequence, which keeps the
// state. Linear cells (cells/elementwise.h) have threads for chunks of time, too.
#include <vector>

#include "cells/elementwise.h"
#include "cuda/elements.h"
#include "cuda/ops.h"
#include "cuda/reduce.h"

namespace fused_rnn::cuda {
namespace {

// So few threads a block spread small layers over all multiprocessors.
constexpr int kUnitThreads = 64;
// Steps whose numbers a thread asks for before it needs the first of them.
constexpr int kAhead = 4;
// Threads that keep a GPU busy, and the least steps of a chunk.
constexpr int64_t kBusy = 1 << 17;
constexpr int64_t kLeastChunk = 32;

template <class F>
void each_unit(CudaDevice& device, int64_t n, F f) {
  const int64_t blocks = std::min<int64_t>((n + kUnitThreads - 1) / kUnitThreads, 1 << 16);
  launch(each_kernel<F>, dim3(static_cast<unsigned>(blocks)), dim3(kUnitThreads), 0,
         device.stream(), f, n);
}

// Where the rows of the steps are.
struct Rows {
  const int64_t* first;  // [T + 1]; null: all steps have the whole batch
  int64_t steps, batch;
  bool backwards;  // the walk is from the last step to the first

  __device__ int64_t step(int64_t i) const { return backwards ? steps - 1 - i : i; }
  __device__ int64_t row(int64_t t) const { return first != nullptr ? first[t] : t * batch; }
  __device__ bool active(int64_t t, int64_t n) const {
    return first == nullptr || n < first[t + 1] - first[t];
  }
};

class RowsOnDevice {
 public:
  RowsOnDevice(CudaDevice& device, const ElementwiseShape& shape)
      : packed_(shape.rows != shape.steps * shape.batch),
        scratch_(device, packed_ ? 2 * (shape.steps + 1) : 0) {
    if (!packed_) return;
    std::vector<int64_t> first(static_cast<size_t>(shape.steps) + 1);
    for (size_t t = 0; t + 1 < first.size(); ++t) first[t + 1] = first[t] + shape.batch_sizes[t];
    device.upload(scratch_.data(), first.data(), first.size() * sizeof(int64_t));
  }
  Rows rows(const ElementwiseShape& shape, bool backwards) const {
    return {packed_ ? reinterpret_cast<const int64_t*>(scratch_.data()) : nullptr, shape.steps,
            shape.batch, backwards};
  }

 private:
  bool packed_;
  DeviceScratch scratch_;
};

template <int count>
__device__ inline void read_blocks(float (&to)[count], const float* from, int64_t hidden) {
#pragma unroll
  for (int k = 0; k < count; ++k) to[k] = from[k * hidden];
}

template <class Cell>
__device__ inline void read_weights(float (&w)[Cell::kWeights], const ElementwiseInputs& in,
                                    int64_t u, int64_t hidden) {
  constexpr int kV = Cell::kWeights - Cell::kBiases;
#pragma unroll
  for (int k = 0; k < Cell::kWeights; ++k) {
    if (k < kV) {
      w[k] = in.v[k * hidden + u];
    } else {
      w[k] = in.b != nullptr ? in.b[(k - kV) * hidden + u] : 0.0f;
    }
  }
}

// The state of unit u of sequence n before step t, in the layer's own direction.
__device__ inline float state_before(const Rows& rows, const ElementwiseShape& shape,
                                     const float* states, const float* state0, int64_t t, int64_t n,
                                     int64_t u) {
  const int64_t earlier = shape.reverse ? t + 1 : t - 1;
  if (earlier >= 0 && earlier < shape.steps && rows.active(earlier, n)) {
    return states[(rows.row(earlier) + n) * shape.hidden + u];
  }
  return state0 != nullptr ? state0[n * shape.hidden + u] : 0.0f;
}

// ---- Cells that are not linear ---------------------------------------------------------------------

template <class Cell>
struct UnitForward {
  ElementwiseForwardArgs args;
  Rows rows;
  __device__ void operator()(int64_t i) const {
    constexpr int kBlocks = Cell::kBlocks;
    const int64_t hidden = args.shape.hidden, n = i / hidden, u = i % hidden;
    float w[Cell::kWeights];
    read_weights<Cell>(w, args.in, u, hidden);
    float state = args.in.state0 != nullptr ? args.in.state0[i] : 0.0f;
    for (int64_t begin = 0; begin < rows.steps; begin += kAhead) {
      float s[kAhead][kBlocks], x[kAhead];
      int64_t at[kAhead];  // -1: the sequence has no such step
#pragma unroll
      for (int k = 0; k < kAhead; ++k) {
        at[k] = -1;
        if (begin + k >= rows.steps) continue;
        const int64_t t = rows.step(begin + k);
        if (!rows.active(t, n)) continue;
        at[k] = (rows.row(t) + n) * hidden;
        read_blocks(s[k], args.in.a + at[k] * kBlocks + u, hidden);
        x[k] = Cell::kSkip ? args.in.x[at[k] + u] : 0.0f;
      }
#pragma unroll
      for (int k = 0; k < kAhead; ++k) {
        if (at[k] < 0) continue;
        float h;
        Cell::forward(s[k], x[k], w, state, h);
        args.y[at[k] + u] = h;
        if (Cell::kOwnState && args.states != nullptr) args.states[at[k] + u] = state;
      }
    }
    args.last[i] = state;
  }
};

template <class Cell>
struct UnitBackward {
  ElementwiseBackwardArgs args;
  Rows rows;
  float* sums;  // [N, kWeights, H], or null
  __device__ void operator()(int64_t i) const {
    constexpr int kBlocks = Cell::kBlocks, kWeights = Cell::kWeights;
    const int64_t hidden = args.shape.hidden, n = i / hidden, u = i % hidden;
    float w[kWeights], dw[kWeights] = {}, some[kWeights] = {};
    read_weights<Cell>(w, args.in, u, hidden);
    float dstate = args.dlast != nullptr ? args.dlast[i] : 0.0f;
    for (int64_t begin = 0; begin < rows.steps; begin += kAhead) {
      float s[kAhead][kBlocks], x[kAhead], before[kAhead], after[kAhead], dh[kAhead];
      int64_t at[kAhead];
#pragma unroll
      for (int k = 0; k < kAhead; ++k) {
        at[k] = -1;
        if (begin + k >= rows.steps) continue;
        const int64_t t = rows.step(begin + k);
        if (!rows.active(t, n)) continue;
        at[k] = (rows.row(t) + n) * hidden;
        read_blocks(s[k], args.in.a + at[k] * kBlocks + u, hidden);
        x[k] = Cell::kSkip ? args.in.x[at[k] + u] : 0.0f;
        before[k] = state_before(rows, args.shape, args.states, args.in.state0, t, n, u);
        after[k] = args.states[at[k] + u];
        dh[k] = args.dy != nullptr ? args.dy[at[k] + u] : 0.0f;
      }
#pragma unroll
      for (int k = 0; k < kAhead; ++k) {
        if (at[k] < 0) continue;
        float ds[kBlocks], dx = 0;
        Cell::backward(s[k], x[k], w, before[k], after[k], dh[k], dstate, ds, dx, some);
        for (int b = 0; b < kBlocks; ++b) args.da[at[k] * kBlocks + b * hidden + u] = ds[b];
        if (Cell::kSkip && args.dx != nullptr) args.dx[at[k] + u] = dx;
      }
      // Sums of sums round less over many steps.
      if (begin % 256 == 256 - kAhead) settle(dw, some);
    }
    settle(dw, some);
    if (args.dstate0 != nullptr) args.dstate0[i] = dstate;
    for (int k = 0; k < kWeights && sums != nullptr; ++k) {
      sums[(n * kWeights + k) * hidden + u] = dw[k];
    }
  }
  template <int count>
  __device__ static void settle(float (&all)[count], float (&some)[count]) {
#pragma unroll
    for (int k = 0; k < count; ++k) {
      all[k] += some[k];
      some[k] = 0;
    }
  }
};

template <class Cell>
void unit_backward(const ElementwiseBackwardArgs& args, const Rows& rows, CudaDevice& device) {
  const ElementwiseShape& shape = args.shape;
  const int64_t hidden = shape.hidden, width = Cell::kWeights * hidden;
  const bool wanted = args.dv != nullptr || args.db != nullptr;
  DeviceScratch sums(device, wanted ? shape.batch * width : 0);
  each_unit(device, shape.batch * hidden, UnitBackward<Cell>{args, rows, sums.data()});
  constexpr int kV = Cell::kWeights - Cell::kBiases;
  const auto write = [&](float* to, int first, int count) {
    if (to == nullptr) return;
    column_sum(device, sums.data() + first * hidden, 1, shape.batch, count * hidden, width, 1, to);
  };
  write(args.dv, 0, kV);
  write(args.db, kV, Cell::kBiases);
}

// ---- Linear cells: what each chunk does to the state before it, the states, the steps --------------

struct Chunks {
  int64_t count, steps;
  explicit Chunks(const ElementwiseShape& shape) {
    const int64_t wanted = kBusy / (shape.batch * shape.hidden + 1) + 1;
    steps = std::max(kLeastChunk, (shape.steps + wanted - 1) / wanted);
    count = (shape.steps + steps - 1) / steps;
  }
};

// What forward and backward make of a step: state = keep * state + add.
template <class Cell>
struct ScanForward {
  ElementwiseForwardArgs args;
  struct Step {
    float keep, add;
  };
  __device__ Step read(const Rows&, int64_t, int64_t at, int64_t, int64_t u) const {
    float s[Cell::kBlocks];
    read_blocks(s, args.in.a + at * Cell::kBlocks + u, args.shape.hidden);
    Step step;
    Cell::coefficients(s, step.keep, step.add);
    return step;
  }
  __device__ void effect(const Step& step, float& factor, float& add) const {
    factor *= step.keep;
    add = step.keep * add + step.add;
  }
  __device__ void write(const Step& step, int64_t at, int64_t u, float& state) const {
    state = step.keep * state + step.add;
    args.y[at + u] = state;
  }
};

template <class Cell>
struct ScanBackward {
  ElementwiseBackwardArgs args;
  struct Step {
    float s[Cell::kBlocks], before, dh;
  };
  __device__ Step read(const Rows& rows, int64_t t, int64_t at, int64_t n, int64_t u) const {
    Step step;
    read_blocks(step.s, args.in.a + at * Cell::kBlocks + u, args.shape.hidden);
    step.before = state_before(rows, args.shape, args.states, args.in.state0, t, n, u);
    step.dh = args.dy != nullptr ? args.dy[at + u] : 0.0f;
    return step;
  }
  __device__ void effect(const Step& step, float& factor, float& add) const {
    float ds[Cell::kBlocks];
    const float keep = Cell::backward(step.s, step.before, 0.0f, ds);
    factor *= keep;
    add = keep * (add + step.dh);
  }
  __device__ void write(const Step& step, int64_t at, int64_t u, float& dstate) const {
    float ds[Cell::kBlocks];
    const float all = dstate + step.dh;
    dstate = Cell::backward(step.s, step.before, all, ds) * all;
    for (int b = 0; b < Cell::kBlocks; ++b) {
      args.da[at * Cell::kBlocks + b * args.shape.hidden + u] = ds[b];
    }
  }
};

// f(step, at) for the steps that sequence n has in a chunk; how many.
template <class Kind, class F>
__device__ inline int64_t chunk_steps(const Kind& kind, const Rows& rows, const Chunks& chunks,
                                      int64_t chunk, int64_t n, int64_t u, F f) {
  const int64_t end = min((chunk + 1) * chunks.steps, rows.steps), hidden = kind.args.shape.hidden;
  int64_t count = 0;
  for (int64_t begin = chunk * chunks.steps; begin < end; begin += kAhead) {
    typename Kind::Step steps[kAhead];
    int64_t at[kAhead];
#pragma unroll
    for (int k = 0; k < kAhead; ++k) {
      at[k] = -1;
      if (begin + k >= end) continue;
      const int64_t t = rows.step(begin + k);
      if (!rows.active(t, n)) continue;
      at[k] = (rows.row(t) + n) * hidden;
      steps[k] = kind.read(rows, t, at[k], n, u);
    }
#pragma unroll
    for (int k = 0; k < kAhead; ++k) {
      if (at[k] < 0) continue;
      f(steps[k], at[k]);
      ++count;
    }
  }
  return count;
}

template <class Kind>
struct ChunkEffects {
  Kind kind;
  Rows rows;
  Chunks chunks;
  float *factors, *adds;  // [chunks, N, H]
  __device__ void operator()(int64_t i) const {
    const int64_t hidden = kind.args.shape.hidden, size = rows.batch * hidden, unit = i % size;
    float factor = 1, add = 0;
    chunk_steps(kind, rows, chunks, i / size, unit / hidden, unit % hidden,
                [&](const auto& step, int64_t) { kind.effect(step, factor, add); });
    factors[i] = factor;
    adds[i] = add;
  }
};

// The state before each chunk, in place of what the chunk adds.
struct ChunkStates {
  const float* start;  // [N, H] or null
  const float* factors;
  float* adds;
  int64_t size, chunks;
  __device__ void operator()(int64_t unit) const {
    float state = start != nullptr ? start[unit] : 0.0f;
    for (int64_t chunk = 0; chunk < chunks; ++chunk) {
      const int64_t i = chunk * size + unit;
      const float behind = factors[i] * state + adds[i];
      adds[i] = state;
      state = behind;
    }
  }
};

template <class Kind>
struct ChunkSteps {
  Kind kind;
  Rows rows;
  Chunks chunks;
  const float* states;  // [chunks, N, H], before each; of one chunk null for zeros
  float* last;          // [N, H], behind each sequence, or null
  __device__ void operator()(int64_t i) const {
    const int64_t hidden = kind.args.shape.hidden, size = rows.batch * hidden;
    const int64_t chunk = i / size, unit = i % size, n = unit / hidden;
    float state = states != nullptr ? states[i] : 0.0f;
    const int64_t count = chunk_steps(
        kind, rows, chunks, chunk, n, unit % hidden,
        [&](const auto& step, int64_t at) { kind.write(step, at, unit % hidden, state); });
    if (last == nullptr || count == 0) return;
    const int64_t next = (chunk + 1) * chunks.steps;
    if (next < rows.steps && rows.active(rows.step(next), n)) return;
    last[unit] = state;
  }
};

template <class Kind>
void scan(const Kind& kind, const Rows& rows, const float* start, float* last, CudaDevice& device) {
  const Chunks chunks(kind.args.shape);
  const int64_t size = rows.batch * kind.args.shape.hidden, all = chunks.count * size;
  if (chunks.count == 1) {
    return each_unit(device, size, ChunkSteps<Kind>{kind, rows, chunks, start, last});
  }
  DeviceScratch scratch(device, 2 * all);
  float *factors = scratch.data(), *adds = factors + all;
  each_unit(device, all, ChunkEffects<Kind>{kind, rows, chunks, factors, adds});
  each_unit(device, size, ChunkStates{start, factors, adds, size, chunks.count});
  each_unit(device, all, ChunkSteps<Kind>{kind, rows, chunks, adds, last});
}

}  // namespace

void elementwise_forward(const ElementwiseForwardArgs& given, Context& context) {
  CudaDevice& device = device_of(context);
  const RowsOnDevice on_device(device, given.shape);
  ElementwiseForwardArgs args = given;
  args.shape.batch_sizes = nullptr;  // of the host
  const Rows rows = on_device.rows(args.shape, args.shape.reverse);
  with_cell(args.shape.kind, [&](auto cell) {
    using Cell = decltype(cell);
    if constexpr (Cell::kLinear) {
      scan(ScanForward<Cell>{args}, rows, args.in.state0, args.last, device);
    } else {
      each_unit(device, rows.batch * args.shape.hidden, UnitForward<Cell>{args, rows});
    }
  });
}

void elementwise_backward(const ElementwiseBackwardArgs& given, Context& context) {
  CudaDevice& device = device_of(context);
  const RowsOnDevice on_device(device, given.shape);
  ElementwiseBackwardArgs args = given;
  args.shape.batch_sizes = nullptr;  // of the host
  const Rows rows = on_device.rows(args.shape, !args.shape.reverse);
  with_cell(args.shape.kind, [&](auto cell) {
    using Cell = decltype(cell);
    if constexpr (Cell::kLinear) {
      scan(ScanBackward<Cell>{args}, rows, args.dlast, args.dstate0, device);
    } else {
      unit_backward<Cell>(args, rows, device);
    }
  });
}

}  // namespace fused_rnn::cuda
