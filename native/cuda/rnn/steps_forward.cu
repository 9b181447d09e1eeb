// The time loop of the forward pass, one step at a time. READ THIS FIRST: it is the plainest of
// three ways to the same numbers.
//
// 1. Step by step, this file. In each step cuBLAS computes h(t-1) W_hh^T, and forward_step_kernel
//    adds W_ih x and the biases and computes the cell. It works for every cell and size, and is
//    what the other two are compared with.
// 2. As a captured graph (schedule.cpp, device/graphs.h). The same kernels, recorded once and
//    replayed by one call: saves the host's time, some microseconds a launch. On the GPU each
//    kernel still waits for the end of the one before it, and W_hh is read from the caches in every
//    step.
// 3. As one persistent kernel (persistent_forward.cu). Nothing is launched between the steps, and
//    W_hh stays in registers: on an H200 2 to 6 times as fast as the graph (docs/persistent.md).
//    Only for layers whose weights fit, and without projection and norms.
// schedule.cpp chooses.
//
// T steps, N sequences, H units, P outputs (H, or the projection's), D directions; rows: one for
// each sequence of each step of the packed input. G gates, in PyTorch's order: LSTM i, f, g, o; GRU
// r, z, n; RNN one. B blocks of a row of the gate matrix: LSTM i, f, g, o; GRU q, r, z, n
// (cells/cell.h).
//
// One step, of `active` rows:
// (1) cuBLAS: product [active, G*H] = h_prev [active, P] W_hh^T [P, G*H].
// (2) forward_step_kernel: s [active, B*H] = bias + W_ih x + product, where they meet in a block;
//     then the cell: h(t), c(t) from s, h(t-1), c(t-1);
//     then h(t) to y, and to h_prev of the next step's rows, or at a sequence's end to hn; the same
//     for c(t).
// (3) With a projection, cuBLAS: what the kernel has as h(t) is u [active, H], and h(t) = u W_hr^T.
// Where a gate comes before a part of the recurrent product (Cell::kResetBefore), (1) is the rest of
// it; reset_step_kernel makes what that part multiplies, and its product comes before (2).
#include "cells/cells.h"
#include "cuda/rnn/handoff.h"
#include "cuda/rnn/layer_norm_kernels.h"
#include "cuda/rnn/step_kernels.h"

namespace fused_rnn::cuda {
namespace {

// ---- One step -----------------------------------------------------------------------------------

// s = the pre-activation of one block of the gate matrix, for a unit of a row. input, product: the
// row's W_ih x and W_hh h(t-1). A block may have either or both: GRU's q has the recurrent product
// alone, its n the input product alone.
template <class Cell, int block>
__device__ void start_block(const ForwardStep& a, const float* input, const float* product,
                            int64_t unit, float& s) {
  constexpr int kGate = kHiddenGate<Cell, block>;
  s = a.bias != nullptr ? a.bias[block * a.hidden + unit] : 0.0f;
  if constexpr (block >= Cell::kInputBlock) {
    s += input[((block - Cell::kInputBlock) * a.hidden + unit) * a.input.unit_stride];
  }
  if constexpr (kGate >= 0) s += product[kGate * a.hidden + unit];
}
template <class Cell, int... block>
__device__ void start_blocks(const ForwardStep& a, const float* input, const float* product,
                             int64_t unit, float (&s)[Cell::kBlocks],
                             std::integer_sequence<int, block...>) {
  (start_block<Cell, block>(a, input, product, unit, s[block]), ...);
}

// The row's W_ih x.
__device__ inline const float* input_of(const ForwardStep& a, int64_t r) {
  int64_t from = r;
  if (a.input.index != nullptr) {
    // What is out of range has been reported by the operation that checked the indices.
    from = a.input.index[r];
    if (from < 0 || from >= a.input.classes) from = 0;
  }
  return a.input.values + from * a.input.row_stride;
}

// What the second product multiplies, of each unit of each row.
template <class Cell>
__global__ void __launch_bounds__(kStepThreads) reset_step_kernel(ForwardStep a) {
  const int64_t unit = global_thread();
  if (unit >= a.hidden) return;
  const int64_t stride = static_cast<int64_t>(gridDim.y) * blockDim.y;
  for (int64_t r = static_cast<int64_t>(blockIdx.y) * blockDim.y + threadIdx.y; r < a.rows;
       r += stride) {
    float gate;
    start_block<Cell, Cell::kResetBlock>(a, input_of(a, r), a.product + r * Cell::kGates * a.hidden,
                                         unit, gate);
    const int64_t at = r * a.hidden + unit;
    a.reset_h[at] = Cell::reset(gate, a.h_in[at]);
  }
}

// A thread for each unit of each row; ForwardStep (step_kernels.h) has the shapes.
template <class Cell, bool kOptions>
__global__ void __launch_bounds__(kStepThreads) forward_step_kernel(ForwardStep a) {
  const int64_t unit = global_thread();
  if (unit >= a.hidden) return;
  const int64_t stride = static_cast<int64_t>(gridDim.y) * blockDim.y;
  for (int64_t r = static_cast<int64_t>(blockIdx.y) * blockDim.y + threadIdx.y; r < a.rows;
       r += stride) {
    float s[Cell::kBlocks];  // LSTM i, f, g, o; GRU q, r, z, n
    start_blocks<Cell>(a, input_of(a, r), a.product + r * Cell::kGates * a.hidden, unit, s,
                       std::make_integer_sequence<int, Cell::kBlocks>{});
    const int64_t at = r * a.hidden + unit;
    float h = 0, c = 0;
    const float h_prev = Cell::kDirectH ? a.h_prev[at] : 0.0f;
    if constexpr (Cell::kResetBefore) Cell::reset(s[Cell::kResetBlock], h_prev);
    if constexpr (Cell::kStates > 1) {
      const int64_t first = r * Cell::kStates * a.hidden + unit;
      float old[Cell::kStates], now[Cell::kStates];
      for (int k = 0; k < Cell::kStates; ++k) old[k] = a.c_prev[first + k * a.hidden];
      Cell::forward(s, old, h, now);
      for (int k = 0; k < Cell::kStates; ++k) {
        const int64_t i = first + k * a.hidden;
        if constexpr (kOptions) {
          a.hand_on_c(r, i, a.states.c(r, at, now[k], old[k]));
        } else {
          (r < a.going_on ? a.c_next : a.c_end)[i] = now[k];
        }
      }
    } else if constexpr (Cell::kUnitWeights > 0) {
      const float c_prev = a.c_prev[at];
      float w[Cell::kUnitWeights];
      for (int k = 0; k < Cell::kUnitWeights; ++k) w[k] = a.unit_weights.of[k][unit];
      Cell::forward(s, w, h_prev, c_prev, h, c);
    } else {
      const float c_prev = Cell::kHasC ? a.c_prev[at] : 0.0f;
      Cell::forward(s, h_prev, c_prev, h, c);
    }
    if (a.gates != nullptr) {
      float* gates = a.gates + r * Cell::kBlocks * a.hidden + unit;
      for (int b = 0; b < Cell::kBlocks; ++b) gates[b * a.hidden] = s[b];
    }
    if constexpr (kOptions) {
      if (a.h_next != nullptr) h = a.states.h(r, at, h, a.h_prev[at]);
      a.h[r * a.h_ld + unit] = h;
      a.hand_on_h(r, at, h);
      if (Cell::kHasC && Cell::kStates == 1) {
        a.hand_on_c(r, at, a.states.c(r, at, c, a.c_prev[at]));
      }
      continue;
    }
    a.h[r * a.h_ld + unit] = h;
    const bool goes_on = r < a.going_on;
    if (a.h_next != nullptr) (goes_on ? a.h_next : a.h_end)[at] = h;
    if (Cell::kHasC && Cell::kStates == 1) (goes_on ? a.c_next : a.c_end)[at] = c;
  }
}

// ---- Around the steps ---------------------------------------------------------------------------

// Initial states of some sequences; null: zeros.
struct StartStates {
  float* h;  // [rows, width]
  const float* h0;
  int64_t h_count;
  float* c;  // [rows, hidden]
  const float* c0;
  int64_t width, hidden;
  const uint8_t* reset;   // [rows] or null
  float* h_in;            // [rows, width], with h_factor; or null
  const float* h_factor;  // [rows, width]
  __device__ void operator()(int64_t i) const {
    const bool of_h = i < h_count;
    const int64_t at = of_h ? i : i - h_count;
    const float* from = of_h ? h0 : c0;
    float value = from != nullptr ? from[at] : 0.0f;
    // One division for both, which keeps its numbers in registers.
    if (reset != nullptr && reset[at / (of_h ? width : hidden)] != 0) value = 0;
    if (!of_h) {
      c[at] = value;
      return;
    }
    value = with_canonical_nan(value);
    h[at] = value;
    if (h_in != nullptr) h_in[at] = value * h_factor[at];
  }
};

// With options and a projection: h(t) from what the cells gave, projected.
struct FinishProjected {
  ForwardStep a;
  const float* projected;  // [rows, P]
  int64_t width;
  bool small;
  __device__ void operator()(int64_t i) const {
    const Divided row = divide(i, width, small);
    const float h = a.states.h(row.quotient, i, projected[i], a.h_prev[i]);
    a.h[row.quotient * a.h_ld + row.rest] = h;
    a.hand_on_h(row.quotient, i, h);
  }
};

// y of steps with the same number of rows, from where the steps have put h(t).
struct CollectOutputs {
  const float* next;  // [rows, P]: h(t) of row r, if its sequence goes on
  const float* hn;    // [N, P]: and if not
  float* y;           // [rows, P], y_ld apart
  int64_t y_ld, width, active, going_on;
  bool small;
  __device__ void operator()(int64_t i) const {
    const Divided row = divide(i, width, small);
    const int64_t n = divide(row.quotient, active, small).rest;
    y[row.quotient * y_ld + row.rest] = n < going_on ? next[i] : hn[n * width + row.rest];
  }
};

// ---- The loop -----------------------------------------------------------------------------------

template <class Cell>
class ForwardSteps {
 public:
  ForwardSteps(const ForwardLoop& loop, const LaunchStream& on)
      : l_(loop), s_(loop.shape), on_(on), p_(s_.out()) {}

  void queue(int64_t begin, int64_t end, Context& context) const {
    queue_starts(l_, begin, end, on_);
    if constexpr (Cell::kNorms) queue_input_moments<Cell>(l_, begin, end, on_.stream);
    for (int64_t i = begin; i < end; ++i) {
      context.check_stop();
      const Step now = l_.plan[i], next = l_.plan[i + 1];
      multiply(now);
      cells(now, next);
      if (s_.proj > 0) project(now, next);
    }
    if (s_.proj > 0 && !l_.options.any()) collect(begin, end);
  }

 private:
  static int64_t going_on(const Step& now, const Step& next) {
    return std::min(now.active, next.active);
  }

  void multiply(const Step& now) const {
    multiply_gates(now, 0, kHiddenGates<Cell>, l_.saved.h_in + now.row * p_);
  }
  // The recurrent product of some gates, of the rows h [active, P].
  void multiply_gates(const Step& now, int64_t gate, int64_t count, const float* h) const {
    on_.blas.multiply({.trans_b = true,
                       .m = now.active,
                       .n = count * s_.hidden,
                       .k = p_,
                       .a = h,
                       .lda = p_,
                       .b = l_.w_hh + gate * s_.hidden * p_,
                       .ldb = p_,
                       .c = l_.product + gate * s_.hidden,
                       .ldc = Cell::kGates * s_.hidden},
                      on_.precision, on_.stream);
  }

  void cells(const Step& now, const Step& next) const {
    const int64_t h = s_.hidden;
    ForwardStep a{};
    a.rows = now.active;
    a.going_on = going_on(now, next);
    a.hidden = h;
    a.bias = l_.bias;
    a.input = l_.input;
    if (a.input.index != nullptr) {
      a.input.index += now.row;
    } else {
      a.input.values += now.row * a.input.row_stride;
    }
    a.product = l_.product;
    a.unit_weights = l_.unit_weights;
    if (l_.keep) a.gates = l_.saved.gates + now.row * Cell::kBlocks * h;
    if (Cell::kDirectH) a.h_prev = l_.saved.h_prev + now.row * p_;
    if (Cell::kHasC) {
      a.c_prev = l_.saved.c_prev + now.row * Cell::kStates * h;
      a.c_next = l_.saved.c_prev + next.row * Cell::kStates * h;
      a.c_end = l_.cn;
    }
    if (s_.proj > 0) {
      a.h = l_.saved.u + now.row * h;
      a.h_ld = h;
    } else {
      a.h_ld = s_.directions * p_;
      a.h = l_.y + now.row * a.h_ld;
      a.h_next = l_.saved.h_prev + next.row * p_;
      a.h_end = l_.hn;
    }
    if (l_.options.any()) {
      set_options(now, next, a);
      if (s_.proj > 0) a.states.only_c();  // h follows in project_with_options()
    }
    if constexpr (Cell::kNorms) {
      queue_norm_step<Cell>(a, l_.norms, l_.saved.moments + now.row, on_.stream);
    } else {
      const StepGrid grid(a.rows, h);
      if constexpr (Cell::kResetBefore) {
        a.h_in = l_.saved.h_in + now.row * h;
        a.reset_h = l_.saved.reset_h + now.row * h;
        launch(reset_step_kernel<Cell>, grid.grid, grid.block, 0, on_.stream, a);
        for (const HiddenRun& run : Cell::kResetRuns) {
          multiply_gates(now, run.gate, run.count, a.reset_h);
        }
      }
      launch(l_.options.any() ? forward_step_kernel<Cell, true> : forward_step_kernel<Cell, false>,
             grid.grid, grid.block, 0, on_.stream, a);
    }
  }

  void set_options(const Step& now, const Step& next, ForwardStep& a) const {
    a.states = StepStates(l_.options, now.row, p_, s_.hidden);
    a.states.reset = rows_from(l_.options.reset, next.row);
    a.h_prev = l_.saved.h_prev + now.row * p_;
    if (l_.options.h_factor != nullptr) a.h_in_next = l_.saved.h_in + next.row * p_;
  }

  // h(t) = u W_hr^T, to where the next step reads it; y is collected from there after the steps.
  void project(const Step& now, const Step& next) const {
    const int64_t going_on = this->going_on(now, next);
    if (l_.options.any()) return project_with_options(now, next);
    project_rows(now.row, going_on, l_.saved.h_prev + next.row * p_);
    project_rows(now.row + going_on, now.active - going_on, l_.hn + going_on * p_);
  }
  void project_with_options(const Step& now, const Step& next) const {
    project_rows(now.row, now.active, l_.product);
    ForwardStep a{};
    a.going_on = going_on(now, next);
    set_options(now, next, a);
    a.h_ld = s_.directions * p_;
    a.h = l_.y + now.row * a.h_ld;
    a.h_next = l_.saved.h_prev + next.row * p_;
    a.h_end = l_.hn;
    const int64_t n = now.active * p_;
    each_on(on_.stream, n, FinishProjected{a, l_.product, p_, small_numbers(n)});
  }
  void project_rows(int64_t row, int64_t count, float* to) const {
    on_.blas.multiply({.trans_b = true,
                       .m = count,
                       .n = p_,
                       .k = s_.hidden,
                       .a = l_.saved.u + row * s_.hidden,
                       .lda = s_.hidden,
                       .b = l_.w_hr,
                       .ldb = s_.hidden,
                       .c = to,
                       .ldc = p_},
                      on_.precision, on_.stream);
  }

  // Neighbouring steps of the same sequences at once.
  void collect(int64_t begin, int64_t stop) const {
    const auto same = [&](int64_t i, int64_t j) {
      const Step a = l_.plan[i], b = l_.plan[j], after_a = l_.plan[i + 1], after_b = l_.plan[j + 1];
      return a.active == b.active && going_on(a, after_a) == going_on(b, after_b) &&
             after_a.row - a.row == after_b.row - b.row;
    };
    for (int64_t i = begin, end = begin; i < stop; i = end) {
      for (end = i + 1; end < stop && same(i, end);) ++end;
      const Step first = l_.plan[i], next = l_.plan[i + 1];
      const int64_t row = std::min(first.row, l_.plan[end - 1].row), active = first.active;
      const int64_t count = (end - i) * active * p_, y_ld = s_.directions * p_;
      each_on(on_.stream, count,
              CollectOutputs{.next = l_.saved.h_prev + (row + next.row - first.row) * p_,
                             .hn = l_.hn,
                             .y = l_.y + row * y_ld,
                             .y_ld = y_ld,
                             .width = p_,
                             .active = active,
                             .going_on = going_on(first, next),
                             .small = small_numbers(count)});
    }
  }

  const ForwardLoop& l_;
  const RnnShape& s_;
  const LaunchStream& on_;
  int64_t p_;
};

}  // namespace

namespace {
int states_of(CellKind kind) {
  return with_cell(kind, [](auto cell) { return decltype(cell)::kStates; });
}
}  // namespace

void queue_starts(const ForwardLoop& l, int64_t begin, int64_t end, const LaunchStream& on) {
  for (int64_t i = begin; i < end; ++i) {
    // Backwards in time, the longer sequences begin in later steps.
    const Step now = l.plan[i];
    const int64_t from = l.plan[i - 1].active;
    if (now.active <= from) continue;
    const int64_t width = l.shape.out(), c_row = l.shape.hidden * states_of(l.shape.cell);
    const int64_t h = (now.active - from) * width;
    const int64_t c = l.saved.c_prev != nullptr ? (now.active - from) * c_row : 0;
    const bool factor = l.options.h_factor != nullptr;
    each_on(on.stream, h + c,
            StartStates{.h = l.saved.h_prev + (now.row + from) * width,
                        .h0 = l.h0 != nullptr ? l.h0 + from * width : nullptr,
                        .h_count = h,
                        .c = c > 0 ? l.saved.c_prev + (now.row + from) * c_row : nullptr,
                        .c0 = c > 0 && l.c0 != nullptr ? l.c0 + from * c_row : nullptr,
                        .width = width,
                        .hidden = c_row,
                        .reset = rows_from(l.options.reset, now.row + from),
                        .h_in = factor ? l.saved.h_in + (now.row + from) * width : nullptr,
                        .h_factor = factor ? l.options.h_factor + from * width : nullptr});
  }
}

void queue_steps(const ForwardLoop& loop, int64_t begin, int64_t end, const LaunchStream& on,
                 Context& context) {
  with_cell(loop.shape.cell,
            [&](auto cell) { ForwardSteps<decltype(cell)>(loop, on).queue(begin, end, context); });
}

}  // namespace fused_rnn::cuda
