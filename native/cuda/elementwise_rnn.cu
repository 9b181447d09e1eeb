// Recurrent layers without a recurrent matrix: a thread for each unit of a sequence, which keeps the
// state. Linear cells are in elementwise_scan.h.
#include "cuda/elements.h"
#include "cuda/elementwise_scan.h"
#include "cuda/ops.h"
#include "cuda/reduce.h"

namespace fused_rnn::cuda {
namespace {

// So few threads a block spread small layers over all multiprocessors.
constexpr int kUnitThreads = 64;
// Steps whose numbers a thread asks for before it needs the first of them.
constexpr int kAhead = 4;

template <class F>
void each_unit(CudaDevice& device, int64_t n, F f) {
  const int64_t blocks = std::min<int64_t>((n + kUnitThreads - 1) / kUnitThreads, 1 << 16);
  launch(each_kernel<F>, dim3(static_cast<unsigned>(blocks)), dim3(kUnitThreads), 0,
         device.stream(), f, n);
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

// f(step, at) of all steps that sequence n has.
template <class Kind, class F>
__device__ inline void each_step(const Kind& kind, int64_t n, int64_t u, F f) {
  for (int64_t begin = 0; begin < kind.rows.steps; begin += kAhead) {
    Steps<Kind, kAhead>(kind, begin, kind.rows.steps, n, u).each(f);
  }
}

template <class Cell>
struct UnitForward {
  ElementwiseForwardArgs args;
  Rows rows;
  struct Step {
    float s[Cell::kBlocks], x;
    bool reset, skipped;
  };
  __device__ Step read(int64_t t, int64_t at, int64_t n, int64_t u) const {
    Step step;
    step.reset = resets(args.in, rows.row(t) + n);
    step.skipped = skips(args.in, rows.row(t) + n);
    read_blocks(step.s, args.in.a + at * Cell::kBlocks + u, args.shape.hidden);
    step.x = Cell::kSkip ? args.in.x[at + u] : 0.0f;
    return step;
  }
  __device__ void operator()(int64_t i) const {
    const int64_t hidden = args.shape.hidden, n = i / hidden, u = i % hidden;
    float w[Cell::kWeights];
    read_weights<Cell>(w, args.in, u, hidden);
    float state = args.in.state0 != nullptr ? args.in.state0[i] : 0.0f;
    float h = Cell::kOwnState ? 0.0f : state;  // what a skipped step repeats
    each_step(*this, n, u, [&](const Step& step, int64_t at) {
      if (step.reset) h = state = 0;
      if (!step.skipped) Cell::forward(step.s, step.x, w, state, h);
      args.y[at + u] = h;
      if (Cell::kOwnState && args.states != nullptr) args.states[at + u] = state;
    });
    args.last[i] = state;
  }
};

template <class Cell>
struct UnitBackward {
  ElementwiseBackwardArgs args;
  Rows rows;
  float* sums;  // [N, kWeights, H], or null
  struct Step {
    float s[Cell::kBlocks], x, before, after, dh;
    bool reset, skipped;
  };
  __device__ Step read(int64_t t, int64_t at, int64_t n, int64_t u) const {
    Step step;
    read_blocks(step.s, args.in.a + at * Cell::kBlocks + u, args.shape.hidden);
    step.x = Cell::kSkip ? args.in.x[at + u] : 0.0f;
    step.before = state_before(rows, args.shape, args.in, args.states, t, n, u);
    step.reset = resets(args.in, rows.row(t) + n);
    step.skipped = skips(args.in, rows.row(t) + n);
    step.after = args.states[at + u];
    step.dh = args.dy != nullptr ? args.dy[at + u] : 0.0f;
    return step;
  }
  __device__ void operator()(int64_t i) const {
    constexpr int kWeights = Cell::kWeights;
    const int64_t hidden = args.shape.hidden, n = i / hidden, u = i % hidden;
    float w[kWeights], dw[kWeights] = {}, some[kWeights] = {};
    read_weights<Cell>(w, args.in, u, hidden);
    float dstate = args.dlast != nullptr ? args.dlast[i] : 0.0f;
    float held = 0;  // the gradient that skipped steps have for an output that is not the state
    int count = 0;
    each_step(*this, n, u, [&](const Step& step, int64_t at) {
      float ds[Cell::kBlocks] = {}, dx = 0;
      if (step.skipped) {
        (Cell::kOwnState ? held : dstate) += step.dh;
      } else {
        const float dh = Cell::kOwnState ? step.dh + held : step.dh;
        Cell::backward(step.s, step.x, w, step.before, step.after, dh, dstate, ds, dx, some);
        held = 0;
      }
      if (step.reset) held = dstate = 0;
      for (int b = 0; b < Cell::kBlocks; ++b) {
        args.da[at * Cell::kBlocks + b * hidden + u] = ds[b];
      }
      if (Cell::kSkip && args.dx != nullptr) args.dx[at + u] = dx;
      // Sums of sums round less over many steps.
      if (++count % 256 == 0) settle(dw, some);
    });
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

}  // namespace

void elementwise_forward(const ElementwiseForwardArgs& given, Context& context) {
  CudaDevice& device = device_of(context);
  const Table first(device, first_rows(given.shape));
  ElementwiseForwardArgs args = given;
  args.shape.batch_sizes = nullptr;  // of the host
  const Rows rows{first.data(), args.shape.steps, args.shape.batch, args.shape.reverse};
  with_cell(args.shape.kind, [&](auto cell) {
    using Cell = decltype(cell);
    if constexpr (Cell::kLinear) {
      scan(ScanForward<Cell>{args, rows}, given.shape, args.in.state0, args.last, device);
    } else {
      each_unit(device, rows.batch * args.shape.hidden, UnitForward<Cell>{args, rows});
    }
  });
}

void elementwise_backward(const ElementwiseBackwardArgs& given, Context& context) {
  CudaDevice& device = device_of(context);
  const Table first(device, first_rows(given.shape));
  ElementwiseBackwardArgs args = given;
  args.shape.batch_sizes = nullptr;  // of the host
  const Rows rows{first.data(), args.shape.steps, args.shape.batch, !args.shape.reverse};
  with_cell(args.shape.kind, [&](auto cell) {
    using Cell = decltype(cell);
    if constexpr (Cell::kLinear) {
      scan(ScanBackward<Cell>{args, rows}, given.shape, args.dlast, args.dstate0, device);
    } else {
      unit_backward<Cell>(args, rows, device);
    }
  });
}

}  // namespace fused_rnn::cuda
