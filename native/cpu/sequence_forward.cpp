// The forward pass of RNN, GRU and LSTM over whole sequences: one time loop for every cell.
//
// Per layer: (1) one product W_ih x for all time steps, or a row lookup where x is one-hot, (2) the
// time loop, in which each step's product h(t-1) W_hh^T and the gates behind it go block by block
// of units, while the block is in the cache (how the threads share it: rnn_team.h), (3) dropout on
// what goes to the next layer.
#include "cells/cells.h"
#include "cpu/gemm.h"
#include "cpu/isa.h"
#include "cpu/one_hot_rows.h"
#include "cpu/rnn_parts.h"
#include "cpu/rnn_plan.h"
#include "cpu/rnn_team.h"

FUSED_RNN_KERNELS_BEGIN
namespace {

// The biases by block of the gate matrix: those of both products where they meet.
template <class Cell>
void block_biases(const RnnShape& s, const RnnWeights& w, float* bias) {
  copy_or_zero(bias, nullptr, Cell::kBlocks * s.hidden);
  if (!s.bias) return;
  copy_floats(bias + Cell::kInputBlock * s.hidden, w.b_ih, Cell::kGates * s.hidden);
  for (const HiddenRun& run : Cell::kHiddenRuns) {
    float* to = bias + run.block * s.hidden;
    const float* from = w.b_hh + run.gate * s.hidden;
    for (int64_t i = 0; i < run.count * s.hidden; ++i) to[i] += from[i];
  }
}

// The input product's blocks of gates [rows, B*H] = bias + x W_ih^T.
template <class Cell>
void input_product(const RnnShape& s, const RnnWeights& w, const RnnInput& x, int64_t inputs,
                   const float* bias, float* gates, Context& context) {
  const int64_t width = Cell::kBlocks * s.hidden, n = Cell::kGates * s.hidden;
  float* c = gates + Cell::kInputBlock * s.hidden;
  const float* start = bias + Cell::kInputBlock * s.hidden;
  if (x.index != nullptr) {
    return look_up_columns(w.w_ih, n, inputs, x.index, s.rows, start, c, width, context);
  }
  gemm({.trans_b = Trans::yes,
        .m = s.rows,
        .n = n,
        .k = inputs,
        .a = x.values,
        .lda = inputs,
        .b = w.w_ih,
        .ldb = inputs,
        .c = c,
        .ldc = width,
        .start = start},
       context);
}

// `count` units of one row of gates through the cell; the pointers are to the first unit's.
template <class Cell>
void cell_row(int64_t hidden, int64_t count, float* __restrict gates,
              const float* __restrict h_prev, const float* __restrict c_prev, float* __restrict h,
              float* __restrict c) {
  for (int64_t j = 0; j < count; ++j) {
    float s[Cell::kBlocks];
    for (int b = 0; b < Cell::kBlocks; ++b) s[b] = gates[b * hidden + j];
    float h_new, c_new;
    Cell::forward(s, Cell::kDirectH ? h_prev[j] : 0, Cell::kHasC ? c_prev[j] : 0, h_new, c_new);
    for (int b = 0; b < Cell::kBlocks; ++b) gates[b * hidden + j] = s[b];
    h[j] = h_new;
    if (Cell::kHasC) c[j] = c_new;
  }
}

// One layer and direction, for one slice of the batch and one member's share of the units, over all
// steps.
template <class Cell>
struct ForwardLoop {
  const RnnShape& s;
  const RnnWeights& w;
  const float* bias;         // by block
  const Panels* hidden;      // W_hh^T by block of the gate matrix; no data: W_hh as it is
  const Panels& projection;  // W_hr^T
  RnnStackSaved saved;
  const float* h0;  // [N, P] or null
  const float* c0;  // [N, H] or null
  float* y;         // this direction's columns of [rows, D*P]
  float* hn;        // [N, P]
  float* cn;        // [N, H]
  bool reverse;
  int member;
  int members;
  Barrier& barrier;

  void run(const BatchSlice& slice, Context& context) const {
    int64_t first_row = reverse ? s.rows - s.batch_sizes[s.steps - 1] : 0;
    const int64_t first = reverse ? s.steps - 1 : 0;
    start(slice, first_row, 0, slice.count(s.batch_sizes[first]));
    barrier.wait(members, context);
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
      step(slice, first_row, active, next_row, next_active, context);
      // Backwards in time, longer sequences join as they begin.
      if (next_active > active) start(slice, next_row, active, next_active);
      barrier.wait(members, context);
      first_row = next_row;
    }
  }

 private:
  // Initial states of the slice's sequences [from, to), which begin at the step of `first_row`.
  void start(const BatchSlice& slice, int64_t first_row, int64_t from, int64_t to) const {
    if (member != 0) return;
    const int64_t n = slice.begin + from;
    const int64_t p = s.out();
    copy_or_zero(saved.h_prev + (first_row + n) * p, h0 ? h0 + n * p : nullptr, (to - from) * p);
    if (Cell::kHasC) {
      copy_or_zero(saved.c_prev + (first_row + n) * s.hidden, c0 ? c0 + n * s.hidden : nullptr,
                   (to - from) * s.hidden);
    }
  }

  void step(const BatchSlice& slice, int64_t first_row, int64_t active, int64_t next_row,
            int64_t next_active, Context& context) const {
    if (active == 0) return;
    const int64_t row = first_row + slice.begin;
    const int64_t p = s.out(), y_width = s.directions * p;
    // Where h of the slice's row r goes besides the output: to the next step or the final state.
    const auto next_h = [&](int64_t r) {
      const int64_t n = slice.begin + r;
      return r < next_active ? saved.h_prev + (next_row + n) * p : hn + n * p;
    };
    const PanelRange share = share_of(hidden[0].count(), member, members);
    for (int64_t panel = share.begin; panel < share.end; ++panel) {
      const int64_t unit = panel * hidden[0].width(), count = hidden[0].columns(panel);
      multiply(panel, row, active, unit, count);
      for (int64_t r = 0; r < active; ++r) {
        const int64_t n = slice.begin + r;
        float* gates = saved.gates + (row + r) * Cell::kBlocks * s.hidden + unit;
        const float* h_prev = saved.h_prev + (row + r) * p + unit;
        const float* c_prev = nullptr;
        float* c_next = nullptr;
        if (Cell::kHasC) {
          c_prev = saved.c_prev + (row + r) * s.hidden + unit;
          c_next =
              (r < next_active ? saved.c_prev + (next_row + n) * s.hidden : cn + n * s.hidden) +
              unit;
        }
        float* h = s.proj > 0 ? saved.u + (row + r) * s.hidden : y + (row + r) * y_width;
        cell_row<Cell>(s.hidden, count, gates, h_prev, c_prev, h + unit, c_next);
        if (s.proj == 0) copy_floats(next_h(r) + unit, h + unit, count);
      }
    }
    if (s.proj == 0) return;
    barrier.wait(members, context);
    const PanelRange outputs = share_of(projection.count(), member, members);
    for (int64_t panel = outputs.begin; panel < outputs.end; ++panel) {
      const int64_t column = panel * projection.width(), count = projection.columns(panel);
      float* h = y + row * y_width + column;
      multiply_panel(projection, panel, active, {saved.u + row * s.hidden, s.hidden}, h, y_width,
                     nullptr, 0);
      for (int64_t r = 0; r < active; ++r) {
        copy_floats(next_h(r) + column, h + r * y_width, count);
      }
    }
  }

  // Adds h(t-1) W_hh^T to the gates of `count` units.
  void multiply(int64_t panel, int64_t row, int64_t active, int64_t unit, int64_t count) const {
    const int64_t width = Cell::kBlocks * s.hidden, p = s.out();
    const float* h = saved.h_prev + row * p;
    for (const HiddenRun& run : Cell::kHiddenRuns) {
      for (int i = 0; i < run.count; ++i) {
        const int block = run.block + i;
        float* c = saved.gates + row * width + block * s.hidden + unit;
        // What the input product has not filled begins with the bias.
        const bool filled = block >= Cell::kInputBlock;
        const float* from = filled ? c : bias + block * s.hidden + unit;
        const int64_t from_ld = filled ? width : 0;
        if (hidden[block].data != nullptr) {
          multiply_panel(hidden[block], panel, active, {h, p}, c, width, from, from_ld);
        } else {
          multiply_rows(active, count, p, h, p, w.w_hh + ((run.gate + i) * s.hidden + unit) * p, p,
                        c, width, from, from_ld);
        }
      }
    }
  }
};

// What one direction of a layer needs besides its tensors; made once per layer.
template <class Cell>
class ForwardWeights {
 public:
  ForwardWeights(const RnnShape& s, bool used)
      : bias_(used ? Cell::kBlocks * s.hidden : 1),
        packed_(used ? Cell::kGates * Panels{s.out(), s.hidden}.floats() : 1),
        packed_hr_(used && s.proj > 0 ? Panels{s.hidden, s.proj}.floats() : 1) {}

  void prepare(const RnnShape& s, const RnnWeights& w, const RnnGrid& grid, Context& context) {
    block_biases<Cell>(s, w, bias_.data());
    // Packing costs as much as a few rows' products.
    const bool pack = s.rows > kFewRows;
    float* to = packed_.data();
    for (const HiddenRun& run : Cell::kHiddenRuns) {
      for (int i = 0; i < run.count; ++i) {
        Panels& panels = hidden[run.block + i];
        panels = {s.out(), s.hidden, grid.vectors, nullptr};
        if (!pack) continue;
        panels.data = to;
        pack_panels(panels, Trans::yes, w.w_hh + (run.gate + i) * s.hidden * s.out(), s.out(), to,
                    context);
        to += panels.floats();
      }
    }
    if (s.proj == 0) return;
    projection = {s.hidden, s.proj, grid.vectors, packed_hr_.data()};
    pack_panels(projection, Trans::yes, w.w_hr, s.hidden, packed_hr_.data(), context);
  }

  const float* bias() const { return bias_.data(); }
  Panels hidden[Cell::kBlocks];  // by block
  Panels projection;

 private:
  Scratch bias_, packed_, packed_hr_;
};

template <class Cell>
void forward(const RnnForwardArgs& args, Context& context) {
  const RnnShape& s = args.shape;
  const int64_t p = s.out();
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

  const RnnGrid grid = rnn_grid(s, Cell::kGates, context.pool.threads());
  ForwardWeights<Cell> weights[2] = {{s, true}, {s, s.directions == 2}};
  RnnInput x = args.x;
  for (int64_t layer = 0; layer < s.layers; ++layer) {
    const bool last = layer + 1 == s.layers;
    const int64_t kept_layer = keep ? layer : 0;
    float* y = last             ? args.y
               : keep           ? workspace.layer_output(layer)
               : layer % 2 == 0 ? even_output.data()
                                : odd_output.data();
    for (int64_t d = 0; d < s.directions; ++d) {
      const RnnWeights& w = args.weights[layer * s.directions + d];
      weights[d].prepare(s, w, grid, context);
      input_product<Cell>(s, w, x, s.layer_input(layer), weights[d].bias(),
                          workspace.stack(kept_layer, d).gates, context);
    }
    Barriers barriers(s.directions * grid.slices);
    context.pool.parallel(static_cast<int>(s.directions) * grid.per_direction(), [&](int task) {
      const int64_t d = task / grid.per_direction(), stack = layer * s.directions + d;
      const int slice = task % grid.per_direction() / grid.members;
      const ForwardLoop<Cell> loop{
          .s = s,
          .w = args.weights[stack],
          .bias = weights[d].bias(),
          .hidden = weights[d].hidden,
          .projection = weights[d].projection,
          .saved = workspace.stack(kept_layer, d),
          .h0 = args.h0 ? args.h0 + stack * s.batch * p : nullptr,
          .c0 = args.c0 ? args.c0 + stack * s.batch * s.hidden : nullptr,
          .y = y + d * p,
          .hn = args.hn + stack * s.batch * p,
          .cn = Cell::kHasC ? args.cn + stack * s.batch * s.hidden : nullptr,
          .reverse = d == 1,
          .member = task % grid.members,
          .members = grid.members,
          .barrier = barriers[task / grid.members]};
      loop.run(batch_slice(s, slice, grid.slices), context);
    });
    if (!last) apply_dropout(y, s.rows * s.directions * p, args.dropout, layer, context);
    x = {y, nullptr};
  }
}

}  // namespace

void rnn_forward(const RnnForwardArgs& args, Context& context) {
  with_cell(args.shape.cell, [&](auto cell) { forward<decltype(cell)>(args, context); });
}

FUSED_RNN_KERNELS_END
