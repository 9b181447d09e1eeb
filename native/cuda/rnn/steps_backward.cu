// The time loop of the backward pass, one step at a time, from the last to the first: it turns the
// saved activations into the gradients of the pre-activations, in place. steps_forward.cu says what
// the other two ways are; here the persistent one is persistent_backward.cu.
//
// T steps, N sequences, H units, P outputs (H, or the projection's), D directions; rows: one for
// each sequence of each step of the packed input. G gates, in PyTorch's order: LSTM i, f, g, o; GRU
// r, z, n; RNN one. B blocks of a row of the gate matrix: LSTM i, f, g, o; GRU q, r, z, n
// (cells/cell.h).
//
// One step, of `active` rows; dgates are the gradients of the pre-activations of step t+1:
// (1) cuBLAS: dh [active, P] = dgates [active, G*H] W_hh [G*H, P], added to what is there for cells
//     whose h(t-1) also goes past the gates (GRU).
// (2) backward_step_kernel: adds dy(t), and dhn and dcn where a sequence ends; then the cell: its
//     activations become gradients, dc becomes dc(t-1), and dh what goes past the gates.
// Where a gate comes before a part of the recurrent product (Cell::kResetBefore), (1) is the rest of
// it, and behind (2) the gradient goes back through that part's product, then through the gate
// (reset_backward_kernel).
// With a projection the gradients of all h(t) are kept in dh_total, for dW_hr, and (2) works on du
// [active, H] = dh_total W_hr, of cuBLAS.
#include "cuda/rnn/layer_norm_kernels.h"
#include "cuda/rnn/step_kernels.h"

namespace fused_rnn::cuda {
namespace {

// ---- One step -----------------------------------------------------------------------------------

// A thread for each unit of each row; BackwardStep (step_kernels.h) has the shapes.
template <class Cell, bool kOptions>
__global__ void __launch_bounds__(kStepThreads) backward_step_kernel(BackwardStep a) {
  const int64_t unit = global_thread();
  if (unit >= a.hidden) return;
  const int64_t stride = static_cast<int64_t>(gridDim.y) * blockDim.y;
  for (int64_t r = static_cast<int64_t>(blockIdx.y) * blockDim.y + threadIdx.y; r < a.rows;
       r += stride) {
    const int64_t at = r * a.hidden + unit;
    float* gates = a.gates + r * Cell::kBlocks * a.hidden + unit;
    float s[Cell::kBlocks];  // LSTM i, f, g, o; GRU q, r, z, n: activations, then their gradients
    for (int b = 0; b < Cell::kBlocks; ++b) s[b] = gates[b * a.hidden];
    float dh = gradient_of_h(a, r, unit);
    float dc = 0, dh_prev = 0, dc_prev = 0;
    if (Cell::kHasC && Cell::kStates == 1) {
      if (r < a.dc_rows) {
        dc = a.dc[at];
      } else if (a.dcn != nullptr) {
        dc = a.dcn[at];
      }
    }
    float past_h = 0, past_c = 0;
    if constexpr (kOptions) {
      past_h = a.states.past_h(r, at, dh);
      past_c = a.states.past_c(r, at, dc);
      dh -= past_h;
      dc -= past_c;
    }
    const float h_prev = Cell::kDirectH ? a.h_prev[at] : 0.0f;
    if constexpr (Cell::kStates > 1) {
      const int64_t first = r * Cell::kStates * a.hidden + unit;
      float old[Cell::kStates], d_now[Cell::kStates], d_old[Cell::kStates], past[Cell::kStates];
      for (int k = 0; k < Cell::kStates; ++k) {
        const int64_t i = first + k * a.hidden;
        old[k] = a.c_prev[i];
        d_now[k] = r < a.dc_rows ? a.dc[i] : a.dcn != nullptr ? a.dcn[i] : 0.0f;
        past[k] = kOptions ? a.states.past_c(r, at, d_now[k]) : 0.0f;
        d_now[k] -= past[k];
      }
      Cell::backward(s, old, dh, d_now, d_old);
      const bool stops = kOptions && a.states.resets(r);
      for (int k = 0; k < Cell::kStates; ++k) {
        a.dc[first + k * a.hidden] = stops ? 0.0f : d_old[k] + past[k];
      }
    } else if constexpr (Cell::kUnitWeights > 0) {
      const float c_prev = a.c_prev[at];
      float w[Cell::kUnitWeights], dw[Cell::kUnitWeights];
      for (int k = 0; k < Cell::kUnitWeights; ++k) w[k] = a.unit_weights.of[k][unit];
      Cell::backward(s, w, h_prev, c_prev, dh, dc, dh_prev, dc_prev, dw);
      float* sums = a.unit_sums + r * Cell::kUnitWeights * a.hidden + unit;
      // The first of a sequence's steps that backward comes to begins its sums.
      for (int k = 0; k < Cell::kUnitWeights; ++k) {
        sums[k * a.hidden] = r < a.dc_rows ? sums[k * a.hidden] + dw[k] : dw[k];
      }
    } else {
      const float c_prev = Cell::kHasC ? a.c_prev[at] : 0.0f;
      Cell::backward(s, h_prev, c_prev, dh, dc, dh_prev, dc_prev);
    }
    for (int b = 0; b < Cell::kBlocks; ++b) gates[b * a.hidden] = s[b];
    if constexpr (kOptions) {
      a.dh[at] = dh_prev + past_h;
      if (Cell::kHasC && Cell::kStates == 1) {
        a.dc[at] = a.states.resets(r) ? 0.0f : dc_prev + past_c;
      }
      continue;
    }
    if (Cell::kDirectH) a.dh[at] = dh_prev;
    if (Cell::kHasC && Cell::kStates == 1) a.dc[at] = dc_prev;
  }
}

// The gate before the second product, of each unit of each row.
template <class Cell>
__global__ void __launch_bounds__(kStepThreads) reset_backward_kernel(BackwardStep a) {
  const int64_t unit = global_thread();
  if (unit >= a.hidden) return;
  const int64_t stride = static_cast<int64_t>(gridDim.y) * blockDim.y;
  for (int64_t r = static_cast<int64_t>(blockIdx.y) * blockDim.y + threadIdx.y; r < a.rows;
       r += stride) {
    const int64_t at = r * a.hidden + unit;
    float* gate = a.gates + (r * Cell::kBlocks + Cell::kResetBlock) * a.hidden + unit;
    const float factor = a.states.h_factor != nullptr ? a.states.h_factor[at] : 1.0f;
    Cell::reset_backward(*gate, a.h_prev[at], a.d_reset[at] * factor, a.dh[at]);
  }
}

// With options, the gradient of h(t-1) of sequences that began with step t: in the end h0's.
struct FinishH {
  float* dh;  // [rows, P]: what came past the cell
  const float* product;
  StepStates states;
  int64_t width;
  __device__ void operator()(int64_t i) const {
    dh[i] = states.from_after(i / width, i, dh[i], product[i]);
  }
};

// With options and a projection: total [rows, P], the gradient of h(t) from outside, becomes that
// of what was projected; dh, what passed the cell of step t+1 by, becomes what passes this one by.
struct SplitProjected {
  float *total, *dh;
  const float* product;  // [rows, P]
  StepStates states;
  int64_t width, dh_rows;
  bool small;
  __device__ void operator()(int64_t i) const {
    const int64_t r = divide(i, width, small).quotient;
    float gradient = total[i];
    if (r < dh_rows) gradient += states.from_after(r, i, dh[i], product[i]);
    const float past = states.past_h(r, i, gradient);
    dh[i] = past;
    total[i] = gradient - past;
  }
};

struct AddTo {
  float* to;
  const float* from;
  __device__ void operator()(int64_t i) const { to[i] += from[i]; }
};

// ---- The loop -----------------------------------------------------------------------------------

// The gradient of h(t) comes from the gates of step t+1, `after`: in the reverse direction the one
// that is earlier in time.
template <class Cell>
class BackwardSteps {
 public:
  BackwardSteps(const BackwardLoop& loop, const LaunchStream& on)
      : l_(loop), s_(loop.shape), on_(on), p_(s_.out()) {}

  void queue(int64_t begin, int64_t end, Context& context) const {
    if (s_.proj > 0) start_projected(begin, end);
    for (int64_t i = end - 1; i >= begin; --i) {
      context.check_stop();
      const Step now = l_.plan[i], after = l_.plan[i + 1];
      if (s_.proj > 0) {
        projected(now, after);
      } else {
        // Rows of sequences that began with step t+1 get h0's gradient.
        const int64_t rows = l_.needs_dh0 ? after.active : std::min(after.active, now.active);
        const bool options = l_.options.any();
        multiply(after, 0, rows, options ? l_.product : l_.dh, !options && Cell::kDirectH);
        cells(now, after, l_.dh);
        if (options) finish_h(after, now.active, rows);
      }
    }
    if (begin > 0 || !l_.needs_dh0) return;
    const Step first = l_.plan[0];
    if (l_.options.any()) {
      multiply(first, 0, first.active, l_.product, false);
      finish_h(first, 0, first.active);
    } else {
      multiply(first, 0, first.active, l_.dh, Cell::kDirectH);
    }
  }

 private:
  // to = or += the gradient of h(t-1) through the gates, of the rows [from, end) of step `at`.
  void multiply(const Step& at, int64_t from, int64_t end, float* to, bool add) const {
    const int64_t width = Cell::kBlocks * s_.hidden;
    on_.blas.multiply({.m = std::max<int64_t>(end - from, 0),
                       .n = p_,
                       .k = kHiddenGates<Cell> * s_.hidden,
                       .a = l_.saved.gates + (at.row + from) * width,
                       .lda = width,
                       .b = l_.w_hh,
                       .ldb = p_,
                       .c = to,
                       .ldc = p_,
                       .beta = add ? 1.0f : 0.0f},
                      on_.precision, on_.stream);
  }

  // With options: h0's gradient of the rows [from, end) of step `at`, whose product there is.
  void finish_h(const Step& at, int64_t from, int64_t end) const {
    if (from >= end) return;
    StepStates states;
    states.reset_after = rows_from(l_.options.reset, at.row + from);
    if (l_.options.h_factor != nullptr) states.h_factor = l_.options.h_factor + from * p_;
    each_on(on_.stream, (end - from) * p_,
            FinishH{l_.dh + from * p_, l_.product + from * p_, states, p_});
  }

  StepStates states_of(const Step& now, const Step& after) const {
    StepStates states(l_.options, now.row, p_, s_.hidden);
    states.reset = rows_from(l_.options.reset, now.row);
    states.reset_after = rows_from(l_.options.reset, after.row);
    return states;
  }

  // `gradient`: of h before it is projected, [N, H]; with projection of every row.
  void cells(const Step& now, const Step& after, float* gradient) const {
    const int64_t h = s_.hidden;
    BackwardStep a{};
    a.rows = now.active;
    a.dh_rows = s_.proj > 0 ? now.active : after.active;
    a.dc_rows = after.active;
    a.hidden = h;
    a.gates = l_.saved.gates + now.row * Cell::kBlocks * h;
    if (Cell::kDirectH) a.h_prev = l_.saved.h_prev + now.row * h;
    if (Cell::kHasC) a.c_prev = l_.saved.c_prev + now.row * Cell::kStates * h;
    if (s_.proj == 0) {
      a.dy_ld = s_.directions * p_;
      if (l_.dy != nullptr) a.dy = l_.dy + now.row * a.dy_ld;
      a.dhn = l_.dhn;
    }
    a.dcn = l_.dcn;
    a.dh = gradient;
    a.dc = l_.dc;
    a.unit_weights = l_.unit_weights;
    a.unit_sums = l_.unit_sums;
    if (l_.options.any()) {
      a.states = states_of(now, after);
      if (s_.proj > 0) {
        a.states.only_c();
      } else {
        a.product = l_.product;
      }
    }
    if constexpr (Cell::kNorms) {
      queue_norm_step<Cell>(a, l_.norms, l_.saved.moments + now.row, on_.stream);
    } else {
      const StepGrid grid(a.rows, h);
      launch(
          l_.options.any() ? backward_step_kernel<Cell, true> : backward_step_kernel<Cell, false>,
          grid.grid, grid.block, 0, on_.stream, a);
      if constexpr (Cell::kResetBefore) through_reset(now, a, grid);
    }
  }

  // After the cells: what goes to h(t-1) through the second product and the gate before it.
  void through_reset(const Step& now, BackwardStep a, const StepGrid& grid) const {
    constexpr HiddenRun kRun = Cell::kResetRuns[0];
    const int64_t h = s_.hidden, width = Cell::kBlocks * h;
    on_.blas.multiply({.m = now.active,
                       .n = h,
                       .k = kRun.count * h,
                       .a = l_.saved.gates + now.row * width + kRun.block * h,
                       .lda = width,
                       .b = l_.w_hh + kRun.gate * h * h,
                       .ldb = h,
                       .c = l_.du,
                       .ldc = h},
                      on_.precision, on_.stream);
    a.d_reset = l_.du;
    launch(reset_backward_kernel<Cell>, grid.grid, grid.block, 0, on_.stream, a);
  }

  // With projection, the gradients of all h are kept, and begin as what comes from outside.
  void start_projected(int64_t begin, int64_t end) const {
    if (begin == end) return;
    const Step all = rows_of(l_.plan, begin, end);
    const int64_t row = all.row, n = all.active * p_;
    const int64_t dy_ld = s_.directions * p_;
    each_on(on_.stream, n,
            CopyColumns{.to = l_.dh_total + row * p_,
                        .from = l_.dy ? l_.dy + row * dy_ld : nullptr,
                        .from_ld = dy_ld,
                        .width = p_,
                        .small = small_numbers(n)});
    if (l_.dhn == nullptr) return;
    for (int64_t i = begin; i < end; ++i) {
      const Step now = l_.plan[i];
      const int64_t going_on = std::min(l_.plan[i + 1].active, now.active);
      each_on(on_.stream, (now.active - going_on) * p_,
              AddTo{l_.dh_total + (now.row + going_on) * p_, l_.dhn + going_on * p_});
    }
  }

  void projected(const Step& now, const Step& after) const {
    const int64_t h = s_.hidden, going_on = std::min(after.active, now.active);
    float* total = l_.dh_total + now.row * p_;
    if (l_.options.any()) {
      const int64_t rows = l_.needs_dh0 ? after.active : going_on, n = now.active * p_;
      multiply(after, 0, rows, l_.product, false);
      each_on(on_.stream, n,
              SplitProjected{total, l_.dh, l_.product, states_of(now, after), p_, going_on,
                             small_numbers(n)});
      finish_h(after, now.active, rows);
    } else {
      multiply(after, 0, going_on, total, true);
      if (l_.needs_dh0) multiply(after, going_on, after.active, l_.dh + going_on * p_, false);
    }
    on_.blas.multiply({.m = now.active,
                       .n = h,
                       .k = p_,
                       .a = total,
                       .lda = p_,
                       .b = l_.w_hr,
                       .ldb = h,
                       .c = l_.du,
                       .ldc = h},
                      on_.precision, on_.stream);
    cells(now, after, l_.du);
  }

  const BackwardLoop& l_;
  const RnnShape& s_;
  const LaunchStream& on_;
  int64_t p_;
};

}  // namespace

void queue_steps(const BackwardLoop& loop, int64_t begin, int64_t end, const LaunchStream& on,
                 Context& context) {
  with_cell(loop.shape.cell,
            [&](auto cell) { BackwardSteps<decltype(cell)>(loop, on).queue(begin, end, context); });
}

}  // namespace fused_rnn::cuda
