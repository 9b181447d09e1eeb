// The forward pass of RNN, GRU and LSTM over whole sequences: one time loop for every cell.
//
// Per layer: (1) one product W_ih x for all time steps, (2) the time loop, in which each thread
// takes its slice of the batch (and direction) through all steps without waiting for the others,
// (3) dropout on what goes to the next layer.
#include "cells/cells.h"
#include "cpu/gemm.h"
#include "cpu/isa.h"
#include "cpu/rnn_parts.h"
#include "cpu/rnn_plan.h"

FUSED_RNN_KERNELS_BEGIN
namespace {

// W_hh with its gates in the order of the gate matrix's blocks; the weights themselves if they are.
template <class Cell>
const float* order_hidden_weights(const float* w_hh, int64_t block_floats, float* scratch) {
  if (Cell::kHiddenRuns[0].count == Cell::kGates) return w_hh;
  for (const HiddenRun& run : Cell::kHiddenRuns) {
    copy_floats(scratch + run.block * block_floats, w_hh + run.gate * block_floats,
                run.count * block_floats);
  }
  return scratch;
}

// gates [rows, B*H] = biases + x W_ih^T, every block but the products that the time loop adds.
template <class Cell>
void input_product(const RnnShape& s, const RnnWeights& w, const float* x, int64_t inputs,
                   float* gates, Context& context) {
  const int64_t width = Cell::kBlocks * s.hidden;
  Scratch bias(width);
  copy_or_zero(bias.data(), nullptr, width);
  if (s.bias) {
    copy_floats(bias.data() + Cell::kInputBlock * s.hidden, w.b_ih, Cell::kGates * s.hidden);
    for (const HiddenRun& run : Cell::kHiddenRuns) {
      float* to = bias.data() + run.block * s.hidden;
      const float* from = w.b_hh + run.gate * s.hidden;
      for (int64_t i = 0; i < run.count * s.hidden; ++i) to[i] += from[i];
    }
  }
  context.pool.parallel_for(s.rows, (1 << 14) / width + 1, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      copy_floats(gates + row * width, bias.data(), width);
    }
  });
  gemm({.trans_b = Trans::yes,
        .m = s.rows,
        .n = Cell::kGates * s.hidden,
        .k = inputs,
        .a = x,
        .lda = inputs,
        .b = w.w_ih,
        .ldb = inputs,
        .c = gates + Cell::kInputBlock * s.hidden,
        .ldc = width,
        .beta = 1},
       context);
}

// One row of gates through the cell.
template <class Cell>
void cell_row(int64_t hidden, float* __restrict gates, const float* __restrict h_prev,
              const float* __restrict c_prev, float* __restrict h, float* __restrict c) {
  for (int64_t j = 0; j < hidden; ++j) {
    float s[Cell::kBlocks];
    for (int b = 0; b < Cell::kBlocks; ++b) s[b] = gates[b * hidden + j];
    float h_new, c_new;
    Cell::forward(s, Cell::kDirectH ? h_prev[j] : 0, Cell::kHasC ? c_prev[j] : 0, h_new, c_new);
    for (int b = 0; b < Cell::kBlocks; ++b) gates[b * hidden + j] = s[b];
    h[j] = h_new;
    if (Cell::kHasC) c[j] = c_new;
  }
}

// One layer and direction, for one slice of the batch, over all steps.
template <class Cell>
struct ForwardLoop {
  const RnnShape& s;
  const RnnWeights& w;
  const float* w_hh;  // in block order
  RnnStackSaved saved;
  const float* h0;  // [N, P] or null
  const float* c0;  // [N, H] or null
  float* y;         // this direction's columns of [rows, D*P]
  float* hn;        // [N, P]
  float* cn;        // [N, H]
  bool reverse;

  void run(const BatchSlice& slice, Context& context) const {
    int64_t first_row = reverse ? s.rows - s.batch_sizes[s.steps - 1] : 0;
    const int64_t first = reverse ? s.steps - 1 : 0;
    start(slice, first_row, 0, slice.count(s.batch_sizes[first]));
    for (int64_t i = 0; i < s.steps; ++i) {
      context.check_stop();
      const int64_t t = reverse ? s.steps - 1 - i : i;
      const int64_t active = slice.count(s.batch_sizes[t]);
      // The rows of the step after this one in the direction of travel.
      const bool last = i + 1 == s.steps;
      const int64_t next = reverse ? t - 1 : t + 1;
      const int64_t next_active = last ? 0 : slice.count(s.batch_sizes[next]);
      const int64_t next_row =
          last ? 0 : (reverse ? first_row - s.batch_sizes[next] : first_row + s.batch_sizes[t]);
      step(slice, first_row, active, next_row, next_active);
      // Backwards in time, longer sequences join as they begin.
      if (next_active > active) start(slice, next_row, active, next_active);
      first_row = next_row;
    }
  }

 private:
  // Initial states of the slice's sequences [from, to), which begin at the step of `first_row`.
  void start(const BatchSlice& slice, int64_t first_row, int64_t from, int64_t to) const {
    const int64_t n = slice.begin + from;
    const int64_t p = s.out();
    copy_or_zero(saved.h_prev + (first_row + n) * p, h0 ? h0 + n * p : nullptr, (to - from) * p);
    if (Cell::kHasC) {
      copy_or_zero(saved.c_prev + (first_row + n) * s.hidden, c0 ? c0 + n * s.hidden : nullptr,
                   (to - from) * s.hidden);
    }
  }

  void step(const BatchSlice& slice, int64_t first_row, int64_t active, int64_t next_row,
            int64_t next_active) const {
    if (active == 0) return;
    const int64_t row = first_row + slice.begin;
    const int64_t width = Cell::kBlocks * s.hidden, p = s.out(), y_width = s.directions * p;
    float* gates = saved.gates + row * width;
    gemm({.trans_b = Trans::yes,
          .m = active,
          .n = Cell::kGates * s.hidden,
          .k = p,
          .a = saved.h_prev + row * p,
          .lda = p,
          .b = w_hh,
          .ldb = p,
          .c = gates,
          .ldc = width,
          .beta = 1});
    for (int64_t r = 0; r < active; ++r) {
      const int64_t n = slice.begin + r;
      const bool goes_on = r < next_active;
      float* h_next = goes_on ? saved.h_prev + (next_row + n) * p : hn + n * p;
      float* c_next = nullptr;
      if (Cell::kHasC) {
        c_next = goes_on ? saved.c_prev + (next_row + n) * s.hidden : cn + n * s.hidden;
      }
      const float* h_prev = saved.h_prev + (row + r) * p;
      const float* c_prev = Cell::kHasC ? saved.c_prev + (row + r) * s.hidden : nullptr;
      if (s.proj > 0) {
        cell_row<Cell>(s.hidden, gates + r * width, h_prev, c_prev, saved.u + (row + r) * s.hidden,
                       c_next);
      } else {
        float* h = y + (row + r) * y_width;
        cell_row<Cell>(s.hidden, gates + r * width, h_prev, c_prev, h, c_next);
        copy_floats(h_next, h, p);
      }
    }
    if (s.proj == 0) return;
    gemm({.trans_b = Trans::yes,
          .m = active,
          .n = p,
          .k = s.hidden,
          .a = saved.u + row * s.hidden,
          .lda = s.hidden,
          .b = w.w_hr,
          .ldb = s.hidden,
          .c = y + row * y_width,
          .ldc = y_width});
    for (int64_t r = 0; r < active; ++r) {
      const int64_t n = slice.begin + r;
      copy_floats(r < next_active ? saved.h_prev + (next_row + n) * p : hn + n * p,
                  y + (row + r) * y_width, p);
    }
  }
};

template <class Cell>
void forward(const RnnForwardArgs& args, Context& context) {
  const RnnShape& s = args.shape;
  const int64_t p = s.out(), block_floats = s.hidden * p;
  // Without a workspace to keep, one layer's worth serves them all.
  RnnShape one_layer = s;
  one_layer.layers = 1;
  const bool keep = args.workspace != nullptr;
  const RnnShape& kept = keep ? s : one_layer;
  Scratch unkept(keep ? 1 : RnnWorkspace(one_layer, Cell::kBlocks, Cell::kHasC, nullptr).floats());
  RnnWorkspace workspace(kept, Cell::kBlocks, Cell::kHasC, keep ? args.workspace : unkept.data());
  // And two outputs below the last layer's are read from and written to in turn.
  Scratch even_output(keep || s.layers < 2 ? 1 : workspace.layer_output_floats());
  Scratch odd_output(keep || s.layers < 3 ? 1 : workspace.layer_output_floats());
  Scratch ordered(s.directions * Cell::kGates * block_floats);

  const int64_t slices = batch_slices(s, Cell::kGates, context.pool.threads());
  const float* x = args.x;
  for (int64_t layer = 0; layer < s.layers; ++layer) {
    const bool last = layer + 1 == s.layers;
    const int64_t kept_layer = keep ? layer : 0;
    float* y = last             ? args.y
               : keep           ? workspace.layer_output(layer)
               : layer % 2 == 0 ? even_output.data()
                                : odd_output.data();
    const float* w_hh[2] = {};
    for (int64_t d = 0; d < s.directions; ++d) {
      const RnnWeights& w = args.weights[layer * s.directions + d];
      w_hh[d] = order_hidden_weights<Cell>(w.w_hh, block_floats,
                                           ordered.data() + d * Cell::kGates * block_floats);
      input_product<Cell>(s, w, x, s.layer_input(layer), workspace.stack(kept_layer, d).gates,
                          context);
    }
    context.pool.parallel(static_cast<int>(s.directions * slices), [&](int task) {
      const int64_t d = task / slices, stack = layer * s.directions + d;
      const ForwardLoop<Cell> loop{
          .s = s,
          .w = args.weights[stack],
          .w_hh = w_hh[d],
          .saved = workspace.stack(kept_layer, d),
          .h0 = args.h0 ? args.h0 + stack * s.batch * p : nullptr,
          .c0 = args.c0 ? args.c0 + stack * s.batch * s.hidden : nullptr,
          .y = y + d * p,
          .hn = args.hn + stack * s.batch * p,
          .cn = Cell::kHasC ? args.cn + stack * s.batch * s.hidden : nullptr,
          .reverse = d == 1};
      loop.run(batch_slice(s, task % slices, slices), context);
    });
    if (!last) apply_dropout(y, s.rows * s.directions * p, args.dropout, layer, context);
    x = y;
  }
}

}  // namespace

void rnn_forward(const RnnForwardArgs& args, Context& context) {
  with_cell(args.shape.cell, [&](auto cell) { forward<decltype(cell)>(args, context); });
}

FUSED_RNN_KERNELS_END
