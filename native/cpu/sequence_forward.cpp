// The forward pass of RNN, GRU and LSTM over whole sequences: one time loop for every cell.
//
// Per layer: (1) one product W_ih x for all time steps, or a row lookup where x is one-hot, (2) the
// time loop, in which each step's product h(t-1) W_hh^T and the gates behind it go block by block
// of units, while the block is in the cache (how the threads share it: rnn_team.h), (3) dropout on
// what goes to the next layer.
#include <optional>

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

// How the input product gets into its blocks of the gate matrix.
struct StepInput {
  // Of one-hot rows: a lookup in each step.
  const OneHotProduct* lookup = nullptr;
  const int32_t* index = nullptr;
  // With small weights, a product in each step with W_ih^T, by gate.
  const Panels* panels = nullptr;
  const float* x = nullptr;
  // Otherwise one product for all steps has filled them.
};

// `count` units of one row of gates through the cell; the pointers are to the first unit's.
template <class Cell>
void cell_row(int64_t hidden, int64_t count, float* gates, const float* h_prev, const float* c_prev,
              float* h, float* c) {
  const auto units = [&](int64_t j, auto read, auto write) {
    Vec s[Cell::kBlocks], h_new, c_new;
    for (int b = 0; b < Cell::kBlocks; ++b) s[b] = read(gates + b * hidden + j);
    Cell::forward(s, Cell::kDirectH ? read(h_prev + j) : Vec{},
                  Cell::kHasC ? read(c_prev + j) : Vec{}, h_new, c_new);
    for (int b = 0; b < Cell::kBlocks; ++b) write(gates + b * hidden + j, s[b]);
    write(h + j, h_new);
    if (Cell::kHasC) write(c + j, c_new);
  };
  each_vector(count, units);
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
  StepInput input;
  int64_t at_once;  // rows
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
    for (int64_t begin = 0; begin < active; begin += at_once) {
      const BatchSlice part{slice.begin + begin,
                            slice.begin + (active - begin > at_once ? begin + at_once : active)};
      units(part, first_row, next_row, next_active - begin);
    }
    if (s.proj == 0 || active == 0) return;
    barrier.wait(members, context);
    project(slice, first_row, active, next_row, next_active);
  }

  // Where h of sequence n goes besides the output: to the next step or the final state.
  float* next_h(int64_t n, bool goes_on, int64_t next_row) const {
    return goes_on ? saved.h_prev + (next_row + n) * s.out() : hn + n * s.out();
  }

  // This member's units of the sequences `part`, all of which are active; the first `going_on` of
  // them have a next step.
  void units(const BatchSlice& part, int64_t first_row, int64_t next_row, int64_t going_on) const {
    const int64_t row = first_row + part.begin, active = part.end - part.begin;
    const int64_t p = s.out(), y_width = s.directions * p;
    const PanelRange share = share_of(hidden[0].count(), member, members);
    for (int64_t panel = share.begin; panel < share.end; ++panel) {
      const int64_t unit = panel * hidden[0].width(), count = hidden[0].columns(panel);
      multiply(panel, row, active, unit, count);
      for (int64_t r = 0; r < active; ++r) {
        const int64_t n = part.begin + r;
        float* gates = saved.gates + (row + r) * gate_row(Cell::kBlocks, s.hidden) + unit;
        const float* h_prev = saved.h_prev + (row + r) * p + unit;
        const float* c_prev = nullptr;
        float* c_next = nullptr;
        if (Cell::kHasC) {
          c_prev = saved.c_prev + (row + r) * s.hidden + unit;
          c_next =
              (r < going_on ? saved.c_prev + (next_row + n) * s.hidden : cn + n * s.hidden) + unit;
        }
        float* h = s.proj > 0 ? saved.u + (row + r) * s.hidden : y + (row + r) * y_width;
        cell_row<Cell>(s.hidden, count, gates, h_prev, c_prev, h + unit, c_next);
        if (s.proj == 0) copy_floats(next_h(n, r < going_on, next_row) + unit, h + unit, count);
      }
    }
  }

  // This member's columns of y = u W_hr^T.
  void project(const BatchSlice& slice, int64_t first_row, int64_t active, int64_t next_row,
               int64_t next_active) const {
    const int64_t row = first_row + slice.begin, y_width = s.directions * s.out();
    const PanelRange outputs = share_of(projection.count(), member, members);
    for (int64_t panel = outputs.begin; panel < outputs.end; ++panel) {
      const int64_t column = panel * projection.width(), count = projection.columns(panel);
      float* h = y + row * y_width + column;
      multiply_panel(projection, panel, active, {saved.u + row * s.hidden, s.hidden}, h, y_width,
                     nullptr, 0);
      for (int64_t r = 0; r < active; ++r) {
        copy_floats(next_h(slice.begin + r, r < next_active, next_row) + column, h + r * y_width,
                    count);
      }
    }
  }

  // The input product of `count` units, where it is not there yet.
  void add_input(int64_t panel, int64_t row, int64_t active, int64_t unit, int64_t count) const {
    const int64_t width = gate_row(Cell::kBlocks, s.hidden);
    for (int gate = 0; gate < Cell::kGates; ++gate) {
      const int64_t column = (Cell::kInputBlock + gate) * s.hidden + unit;
      float* c = saved.gates + row * width + column;
      if (input.panels != nullptr) {
        const Panels& w_ih = input.panels[gate];
        multiply_panel(w_ih, panel, active, {input.x + row * w_ih.k, w_ih.k}, c, width,
                       bias + column, 0);
      } else if (input.lookup != nullptr) {
        for (int64_t r = 0; r < active; ++r) {
          input.lookup->write(input.index[row + r], gate * s.hidden + unit, count, c + r * width);
        }
      }
    }
  }

  // The gates' pre-activations of `count` units: both products and the biases.
  void multiply(int64_t panel, int64_t row, int64_t active, int64_t unit, int64_t count) const {
    const int64_t width = gate_row(Cell::kBlocks, s.hidden), p = s.out();
    add_input(panel, row, active, unit, count);
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

// What one direction of a layer needs besides its tensors.
template <class Cell>
class ForwardWeights {
 public:
  ForwardWeights(const RnnShape& s, const RnnWeights& w, const RnnInput& x, int64_t inputs,
                 const RnnGrid& grid, float* gates, Context& context)
      : bias_(Cell::kBlocks * s.hidden),
        packed_(Cell::kGates * Panels{s.out(), s.hidden}.floats()),
        packed_hr_(s.proj > 0 ? Panels{s.hidden, s.proj}.floats() : 1),
        packed_ih_(fits(s, inputs) ? Cell::kGates * Panels{inputs, s.hidden}.floats() : 1) {
    block_biases<Cell>(s, w, bias_.data());
    at_once = rows_at_once(weight_bytes(s, s.out()));
    pack_hidden(s, w, grid, context);
    if (s.proj > 0) {
      projection = {s.hidden, s.proj, grid.vectors, packed_hr_.data()};
      pack_panels(projection, Trans::yes, w.w_hr, s.hidden, packed_hr_.data(), context);
    }
    take_input(s, w, x, inputs, grid, gates, context);
  }

  const float* bias() const { return bias_.data(); }
  Panels hidden[Cell::kBlocks];  // by block
  Panels projection;
  StepInput input;
  int64_t at_once;

 private:
  static int64_t weight_bytes(const RnnShape& s, int64_t k) {
    return Cell::kGates * s.hidden * k * static_cast<int64_t>(sizeof(float));
  }
  // Whether both products go through the steps together: one pass over the gates less, where the
  // weights of both stay in the nearest cache.
  static bool fits(const RnnShape& s, int64_t inputs) {
    return s.rows > kFewRows && rows_at_once(weight_bytes(s, s.out() + inputs)) < INT64_MAX;
  }

  void pack_hidden(const RnnShape& s, const RnnWeights& w, const RnnGrid& grid, Context& context) {
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
  }

  void take_input(const RnnShape& s, const RnnWeights& w, const RnnInput& x, int64_t inputs,
                  const RnnGrid& grid, float* gates, Context& context) {
    const float* start = bias_.data() + Cell::kInputBlock * s.hidden;
    const int64_t n = Cell::kGates * s.hidden;
    if (x.index != nullptr) {
      input.lookup = &lookup_.emplace(w.w_ih, n, inputs, start, s.rows, context);
      input.index = x.index;
    } else if (fits(s, inputs)) {
      input.panels = input_panels_;
      input.x = x.values;
      float* to = packed_ih_.data();
      for (int gate = 0; gate < Cell::kGates; ++gate) {
        input_panels_[gate] = {inputs, s.hidden, grid.vectors, to};
        pack_panels(input_panels_[gate], Trans::yes, w.w_ih + gate * s.hidden * inputs, inputs, to,
                    context);
        to += input_panels_[gate].floats();
      }
    } else {
      gemm({.trans_b = Trans::yes,
            .m = s.rows,
            .n = n,
            .k = inputs,
            .a = x.values,
            .lda = inputs,
            .b = w.w_ih,
            .ldb = inputs,
            .c = gates + Cell::kInputBlock * s.hidden,
            .ldc = gate_row(Cell::kBlocks, s.hidden),
            .start = start},
           context);
    }
  }

  Scratch bias_, packed_, packed_hr_, packed_ih_;
  Panels input_panels_[Cell::kGates];
  std::optional<OneHotProduct> lookup_;
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
  RnnInput x = args.x;
  for (int64_t layer = 0; layer < s.layers; ++layer) {
    const bool last = layer + 1 == s.layers;
    const int64_t kept_layer = keep ? layer : 0;
    float* y = last             ? args.y
               : keep           ? workspace.layer_output(layer)
               : layer % 2 == 0 ? even_output.data()
                                : odd_output.data();
    std::optional<ForwardWeights<Cell>> weights[2];
    for (int64_t d = 0; d < s.directions; ++d) {
      weights[d].emplace(s, args.weights[layer * s.directions + d], x, s.layer_input(layer), grid,
                         workspace.stack(kept_layer, d).gates, context);
    }
    Barriers barriers(s.directions * grid.slices);
    context.pool.parallel(static_cast<int>(s.directions) * grid.per_direction(), [&](int task) {
      const int64_t d = task / grid.per_direction(), stack = layer * s.directions + d;
      const int slice = task % grid.per_direction() / grid.members;
      const ForwardLoop<Cell> loop{
          .s = s,
          .w = args.weights[stack],
          .bias = weights[d]->bias(),
          .hidden = weights[d]->hidden,
          .projection = weights[d]->projection,
          .input = weights[d]->input,
          .at_once = weights[d]->at_once,
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
