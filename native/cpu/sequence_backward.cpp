// The backward pass of RNN, GRU and LSTM over whole sequences, through time.
//
// Per layer, from the last: (1) the time loop in reverse turns the saved activations into gradients
// of the pre-activations, each thread with its slice of the batch and direction; (2) the gradients
// of the weights, the biases and the layer's input are one product (or column sum) each over all
// time steps.
#include "cells/cells.h"
#include "cpu/gemm.h"
#include "cpu/isa.h"
#include "cpu/reduce.h"
#include "cpu/rnn_parts.h"
#include "cpu/rnn_plan.h"

FUSED_RNN_KERNELS_BEGIN
namespace {

// One row: activations become gradients of the pre-activations; dh becomes the part of h(t-1)'s
// gradient that does not go through the gates, dc becomes c(t-1)'s.
template <class Cell>
void cell_row_backward(int64_t hidden, float* __restrict gates, const float* __restrict h_prev,
                       const float* __restrict c_prev, const float* __restrict dh_in,
                       float* __restrict dh_out, float* __restrict dc) {
  for (int64_t j = 0; j < hidden; ++j) {
    float s[Cell::kBlocks];
    for (int b = 0; b < Cell::kBlocks; ++b) s[b] = gates[b * hidden + j];
    float dh_prev = 0, dc_prev = 0;
    Cell::backward(s, Cell::kDirectH ? h_prev[j] : 0, Cell::kHasC ? c_prev[j] : 0, dh_in[j],
                   Cell::kHasC ? dc[j] : 0, dh_prev, dc_prev);
    for (int b = 0; b < Cell::kBlocks; ++b) gates[b * hidden + j] = s[b];
    if (Cell::kDirectH) dh_out[j] = dh_prev;
    if (Cell::kHasC) dc[j] = dc_prev;
  }
}

// One layer and direction, for one slice of the batch, over all steps.
template <class Cell>
struct BackwardLoop {
  const RnnShape& s;
  const RnnWeights& w;
  RnnStackSaved saved;
  const float* dy;   // this direction's columns of [rows, D*P], or null
  const float* dhn;  // [N, P] or null
  const float* dcn;  // [N, H] or null
  float* dh;         // [N, P]: on its way back through time; in the end dh0
  float* dc;         // [N, H]
  float* dh_total;   // [rows, P], with projection: the gradient of every h, for dw_hr
  float* du;         // [N, H], with projection, or as dh_sum [N, P]: one step's
  bool reverse;

  void run(const BatchSlice& slice, Context& context) const {
    // Against the direction that forward took.
    int64_t row = reverse ? 0 : s.rows - s.batch_sizes[s.steps - 1];
    int64_t before = 0;
    for (int64_t i = 0; i < s.steps; ++i) {
      context.check_stop();
      const int64_t t = reverse ? i : s.steps - 1 - i;
      const int64_t active = slice.count(s.batch_sizes[t]);
      if (active > before) finals(slice, before, active);
      before = std::max(before, active);
      step(slice, row, active);
      if (i + 1 < s.steps) row += reverse ? s.batch_sizes[t] : -int64_t{s.batch_sizes[t - 1]};
    }
  }

 private:
  // Gradients of the final states of the sequences [from, to), whose last step is this one.
  void finals(const BatchSlice& slice, int64_t from, int64_t to) const {
    const int64_t n = slice.begin + from, p = s.out();
    copy_or_zero(dh + n * p, dhn ? dhn + n * p : nullptr, (to - from) * p);
    if (Cell::kHasC) {
      copy_or_zero(dc + n * s.hidden, dcn ? dcn + n * s.hidden : nullptr, (to - from) * s.hidden);
    }
  }

  void step(const BatchSlice& slice, int64_t first_row, int64_t active) const {
    if (active == 0) return;
    const int64_t row = first_row + slice.begin;
    const int64_t width = Cell::kBlocks * s.hidden, p = s.out(), y_width = s.directions * p;
    float* gates = saved.gates + row * width;
    float* dh_slice = dh + slice.begin * p;
    float* du_slice = du + slice.begin * s.hidden;
    if (dy != nullptr) {
      for (int64_t r = 0; r < active; ++r) {
        const float* from = dy + (row + r) * y_width;
        for (int64_t j = 0; j < p; ++j) dh_slice[r * p + j] += from[j];
      }
    }
    if (s.proj > 0) {
      copy_floats(dh_total + row * p, dh_slice, active * p);
      gemm({.m = active,
            .n = s.hidden,
            .k = p,
            .a = dh_slice,
            .lda = p,
            .b = w.w_hr,
            .ldb = s.hidden,
            .c = du_slice,
            .ldc = s.hidden});
    }
    const float* gradient = s.proj > 0 ? du_slice : dh_slice;
    for (int64_t r = 0; r < active; ++r) {
      // A cell with a direct path from h(t-1) has no projection, so its dh has H columns.
      float* direct = du_slice + r * s.hidden;
      cell_row_backward<Cell>(s.hidden, gates + r * width, saved.h_prev + (row + r) * p,
                              Cell::kHasC ? saved.c_prev + (row + r) * s.hidden : nullptr,
                              gradient + r * s.hidden, direct,
                              Cell::kHasC ? dc + (slice.begin + r) * s.hidden : nullptr);
    }
    if (Cell::kDirectH) copy_floats(dh_slice, du_slice, active * p);
    bool add = Cell::kDirectH;
    for (const HiddenRun& run : Cell::kHiddenRuns) {
      gemm({.m = active,
            .n = p,
            .k = run.count * s.hidden,
            .a = gates + run.block * s.hidden,
            .lda = width,
            .b = w.w_hh + run.gate * s.hidden * p,
            .ldb = p,
            .c = dh_slice,
            .ldc = p,
            .beta = add ? 1.0f : 0.0f});
      add = true;
    }
  }
};

template <class Cell>
void weight_gradients(const RnnShape& s, const RnnWeightGrads& g, const RnnStackSaved& saved,
                      const float* x, int64_t inputs, const float* dh_total, Context& context) {
  const int64_t h = s.hidden, p = s.out(), width = Cell::kBlocks * h;
  const float* dgates_x = saved.gates + Cell::kInputBlock * h;
  if (g.dw_ih != nullptr) {
    gemm({.trans_a = Trans::yes,
          .m = Cell::kGates * h,
          .n = inputs,
          .k = s.rows,
          .a = dgates_x,
          .lda = width,
          .b = x,
          .ldb = inputs,
          .c = g.dw_ih,
          .ldc = inputs},
         context);
  }
  if (g.dw_hh != nullptr) {
    for (const HiddenRun& run : Cell::kHiddenRuns) {
      gemm({.trans_a = Trans::yes,
            .m = run.count * h,
            .n = p,
            .k = s.rows,
            .a = saved.gates + run.block * h,
            .lda = width,
            .b = saved.h_prev,
            .ldb = p,
            .c = g.dw_hh + run.gate * h * p,
            .ldc = p},
           context);
    }
  }
  if (g.dw_hr != nullptr) {
    gemm({.trans_a = Trans::yes,
          .m = p,
          .n = h,
          .k = s.rows,
          .a = dh_total,
          .lda = p,
          .b = saved.u,
          .ldb = h,
          .c = g.dw_hr,
          .ldc = h},
         context);
  }
  if (g.db_ih == nullptr && g.db_hh == nullptr) return;
  Scratch sums(width);
  column_sum(saved.gates, 1, s.rows, width, 1, sums.data(), context);
  if (g.db_ih != nullptr) {
    copy_floats(g.db_ih, sums.data() + Cell::kInputBlock * h, Cell::kGates * h);
  }
  if (g.db_hh != nullptr) {
    for (const HiddenRun& run : Cell::kHiddenRuns) {
      copy_floats(g.db_hh + run.gate * h, sums.data() + run.block * h, run.count * h);
    }
  }
}

template <class Cell>
void backward(const RnnBackwardArgs& args, Context& context) {
  const RnnShape& s = args.shape;
  const int64_t h = s.hidden, p = s.out(), width = Cell::kBlocks * h;
  const RnnWorkspace workspace(s, Cell::kBlocks, Cell::kHasC, args.workspace);
  const bool projected = s.proj > 0;
  Scratch dh(s.directions * s.batch * p);
  Scratch dc(Cell::kHasC ? s.directions * s.batch * h : 1);
  Scratch du(s.directions * s.batch * h);
  Scratch dh_total(projected ? s.directions * s.rows * p : 1);
  Scratch between(s.layers > 1 ? workspace.layer_output_floats() : 1);

  const int64_t slices = batch_slices(s, Cell::kGates, context.pool.threads());
  const float* dy = args.dy;
  for (int64_t layer = s.layers - 1; layer >= 0; --layer) {
    context.pool.parallel(static_cast<int>(s.directions * slices), [&](int task) {
      const int64_t d = task / slices, stack = layer * s.directions + d;
      const BackwardLoop<Cell> loop{.s = s,
                                    .w = args.weights[stack],
                                    .saved = workspace.stack(layer, d),
                                    .dy = dy ? dy + d * p : nullptr,
                                    .dhn = args.dhn ? args.dhn + stack * s.batch * p : nullptr,
                                    .dcn = args.dcn ? args.dcn + stack * s.batch * h : nullptr,
                                    .dh = dh.data() + d * s.batch * p,
                                    .dc = dc.data() + (Cell::kHasC ? d * s.batch * h : 0),
                                    .dh_total = dh_total.data() + (projected ? d * s.rows * p : 0),
                                    .du = du.data() + d * s.batch * h,
                                    .reverse = d == 1};
      loop.run(batch_slice(s, task % slices, slices), context);
    });

    const int64_t inputs = s.layer_input(layer);
    const float* x = layer == 0 ? args.x : workspace.layer_output(layer - 1);
    float* dx = layer == 0 ? args.dx : between.data();
    for (int64_t d = 0; d < s.directions; ++d) {
      const int64_t stack = layer * s.directions + d;
      const RnnStackSaved saved = workspace.stack(layer, d);
      weight_gradients<Cell>(s, args.grads[stack], saved, x, inputs,
                             dh_total.data() + (projected ? d * s.rows * p : 0), context);
      if (dx != nullptr) {
        gemm({.m = s.rows,
              .n = inputs,
              .k = Cell::kGates * h,
              .a = saved.gates + Cell::kInputBlock * h,
              .lda = width,
              .b = args.weights[stack].w_ih,
              .ldb = inputs,
              .c = dx,
              .ldc = inputs,
              .beta = d == 0 ? 0.0f : 1.0f},
             context);
      }
      if (args.dh0 != nullptr) {
        copy_floats(args.dh0 + stack * s.batch * p, dh.data() + d * s.batch * p, s.batch * p);
      }
      if (Cell::kHasC && args.dc0 != nullptr) {
        copy_floats(args.dc0 + stack * s.batch * h, dc.data() + d * s.batch * h, s.batch * h);
      }
    }
    if (layer > 0) {
      apply_dropout(dx, s.rows * s.directions * p, args.dropout, layer - 1, context);
    }
    dy = dx;
  }
}

}  // namespace

void rnn_backward(const RnnBackwardArgs& args, Context& context) {
  with_cell(args.shape.cell, [&](auto cell) { backward<decltype(cell)>(args, context); });
}

FUSED_RNN_KERNELS_END
