// The forward pass of recurrent layers over whole sequences: one time loop for every cell.
//
//   T steps   N sequences   I inputs   H units   P = proj_size or H   D directions   L layers
//   G gates   B blocks of the gate matrix (cells/cell.h)   rows: those of all steps (ops/ops.h)
//
// For each layer, both directions side by side:
//   1. ForwardWeights packs W_hh and puts the input product W_ih x + b into the gate matrix, for
//      all steps at once, or leaves it to the steps (forward_weights.h).
//   2. ForwardLoop goes through time. In each step, a thread does for its panels of units, one
//      panel after the other, while it is in the cache: (a) the product h(t-1) W_hh^T, added to the
//      gate matrix; (b) the cell, which turns pre-activations into gates, c(t) and h(t); (c) copies
//      h(t) to where the next step reads it, with what RnnStepOptions asks for (step_options.h).
//      With a projection the threads meet, and then each makes its columns of h(t) W_hr^T. Where a
//      gate comes before a part of the recurrent product (Cell::kResetBefore), they meet within
//      (b), and the rest of (a) follows.
//   3. The threads of a slice meet after each step (threads.h).
//   4. Dropout on what goes to the next layer (dropout.h).
#include <optional>

#include "cells/cells.h"
#include "cells/unit_weights.h"
#include "cpu/isa.h"
#include "cpu/rnn/cell_rows.h"
#include "cpu/rnn/dropout.h"
#include "cpu/rnn/forward_weights.h"
#include "cpu/rnn/layer_norm.h"
#include "cpu/rnn/step_options.h"
#include "cpu/rnn/threads.h"
#include "cpu/rnn/workspace.h"

FUSED_RNN_KERNELS_BEGIN
namespace {

// One layer and direction, for one slice of the batch and one thread's share of the units, over all
// steps.
template <class Cell>
struct ForwardLoop {
  const RnnShape& s;
  const RnnWeights& w;
  const Products& products;
  const RnnKeptWeights* kept;  // or null
  const RnnInt8Weights* int8;  // or null
  const float* bias;           // by block
  const Panels* hidden;        // W_hh^T by block of the gate matrix; no data: W_hh as it is
  const Panels& projection;    // W_hr^T
  StepInput input;
  int64_t at_once;  // rows
  RnnStackSaved saved;
  const float* h0;  // [N, P] or null
  const float* c0;  // [N, H] or null
  float* y;         // this direction's columns of [rows, D*P]
  float* hn;        // [N, P]
  float* cn;        // [N, H]
  bool reverse;
  ThreadGroup group;
  const NormWeights* norms;  // cells with norms
  float* norm_sums;          // and their RowSums's
  StepOptions options;

  void run(const BatchSlice& slice, Context& context) {
    Scratch rounded(products.bf16() ? (slice.end - slice.begin) * rounded_row() : 1);
    rounded_ = rounded.data();
    const QuantizedRows quantized(int8 != nullptr ? slice.end - slice.begin : 0,
                                  std::max(s.out(), s.hidden));
    quantized_ = &quantized;
    int64_t first_row = reverse ? s.rows - s.batch_sizes[s.steps - 1] : 0;
    const int64_t first = reverse ? s.steps - 1 : 0;
    start(slice, first_row, 0, slice.count(s.batch_sizes[first]));
    group.wait(context);
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
      group.wait(context);
      first_row = next_row;
    }
  }

  float* rounded_ = nullptr;  // what this thread multiplies next, rounded
  const QuantizedRows* quantized_ = nullptr;

 private:
  int64_t c_row() const { return Cell::kStates * s.hidden; }
  int64_t rounded_row() const {
    return std::max(products.row_words(s.out()) + products.row_words(input.inputs),
                    products.row_words(s.hidden));
  }

  // Initial states of the slice's sequences [from, to), which begin at the step of `first_row`.
  void start(const BatchSlice& slice, int64_t first_row, int64_t from, int64_t to) const {
    if (group.thread != 0) return;
    const int64_t n = slice.begin + from;
    const int64_t p = s.out();
    copy_or_zero(saved.h_prev + (first_row + n) * p, h0 ? h0 + n * p : nullptr, (to - from) * p);
    if (Cell::kHasC) {
      copy_or_zero(saved.c_prev + (first_row + n) * c_row(), c0 ? c0 + n * c_row() : nullptr,
                   (to - from) * c_row());
    }
    for (int64_t i = from; options.any && i < to; ++i) {
      const int64_t sequence = slice.begin + i, row = first_row + sequence;
      float* h = saved.h_prev + row * p;
      hand_on(sequence, row, 0, p, h);
      if (Cell::kHasC && options.resets(row)) {
        copy_or_zero(saved.c_prev + row * c_row(), nullptr, c_row());
      }
    }
  }

  // `count` columns of a row's state from `column` on, which are in `h`, for the row to begin with.
  void hand_on(int64_t sequence, int64_t row, int64_t column, int64_t count, const float* h) const {
    const int64_t at = row * s.out() + column;
    copy_or_zero(saved.h_prev + at, options.resets(row) ? nullptr : h, count);
    if (options.h_factor == nullptr) return;
    multiply_floats(saved.h_in + at, saved.h_prev + at,
                    options.h_factor + sequence * s.out() + column, count);
  }

  void step(const BatchSlice& slice, int64_t first_row, int64_t active, int64_t next_row,
            int64_t next_active, Context& context) const {
    for (int64_t begin = 0; begin < active; begin += at_once) {
      const BatchSlice part{slice.begin + begin,
                            slice.begin + (active - begin > at_once ? begin + at_once : active)};
      units(part, first_row, next_row, next_active - begin, context);
    }
    if (s.proj == 0 || active == 0) return;
    group.wait(context);
    project(slice, first_row, active, next_row, next_active);
  }

  // Where h of sequence n goes besides the output: to the next step or the final state.
  float* next_h(int64_t n, bool goes_on, int64_t next_row) const {
    return goes_on ? saved.h_prev + (next_row + n) * s.out() : hn + n * s.out();
  }

  // `count` columns from `column` on of the row's new h, which are in `h`, with zoneout and masks;
  // then to the next step or the final state.
  void finish_h(int64_t row, int64_t n, bool goes_on, int64_t next_row, int64_t column,
                int64_t count, float* h) const {
    options.blend_h(row, column, count, saved.h_prev + row * s.out() + column, h);
    if (goes_on) {
      hand_on(n, next_row + n, column, count, h);
    } else {
      copy_floats(hn + n * s.out() + column, h, count);
    }
  }

  // The same for what the cells of `count` units from `unit` on have given.
  void finish(int64_t row, int64_t n, bool goes_on, int64_t next_row, int64_t unit, int64_t count,
              const CellRow& at) const {
    for (int k = 0; Cell::kHasC && k < Cell::kStates; ++k) {
      float* c = at.c + k * s.hidden;
      options.blend_c(row, unit, count, at.c_prev + k * s.hidden, c);
      if (goes_on && options.resets(next_row + n)) copy_or_zero(c, nullptr, count);
    }
    if (s.proj == 0) finish_h(row, n, goes_on, next_row, unit, count, at.h);
  }

  // From unit `unit` on, of the row `row` of sequence n.
  CellRow cell_row_at(int64_t row, int64_t n, bool goes_on, int64_t next_row, int64_t unit) const {
    const int64_t p = s.out(), h = s.hidden;
    CellRow at{.gates = saved.gates + row * gate_row(Cell::kBlocks, h) + unit,
               .moments = Cell::kNorms ? saved.moments + row : nullptr,
               .h_prev = saved.h_prev + row * p + unit};
    if (Cell::kHasC) {
      at.c_prev = saved.c_prev + row * c_row() + unit;
      at.c = (goes_on ? saved.c_prev + (next_row + n) * c_row() : cn + n * c_row()) + unit;
    }
    at.h = (s.proj > 0 ? saved.u + row * h : y + row * s.directions * p) + unit;
    if (s.proj == 0) at.h_next = next_h(n, goes_on, next_row) + unit;
    return at;
  }

  // This thread's units of the sequences `part`, all of which are active; the first `going_on` of
  // them have a next step.
  void units(const BatchSlice& part, int64_t first_row, int64_t next_row, int64_t going_on,
             Context& context) const {
    const int64_t row = first_row + part.begin, active = part.end - part.begin;
    const PanelRange share = group.share(hidden[0].count());
    const auto row_of = [&](int64_t r, int64_t unit = 0) {
      return cell_row_at(row + r, part.begin + r, r < going_on, next_row, unit);
    };
    const int64_t p = s.out();
    const TileA h = products.rows(active, p, saved.h_in + row * p, p, rounded_);
    if (int8 != nullptr) quantized_->fill(0, active, p, saved.h_in + row * p, p);
    TileA x{};
    if (input.panels != nullptr) {
      x = products.rows(active, input.inputs, input.x + row * input.inputs, input.inputs,
                        rounded_ + active * products.row_words(p));
    }
    const auto cells = [&](int64_t unit, int64_t count) {
      for (int64_t r = 0; r < active; ++r) {
        const CellRow at = row_of(r, unit);
        if constexpr (!Cell::kNorms) {
          cell_row<Cell>(s.hidden, unit_weights(w), unit, count, at.gates, at.h_prev, at.c_prev,
                         at.h, at.c);
        }
        if (options.any) {
          finish(row + r, part.begin + r, r < going_on, next_row, unit, count, at);
        } else if (at.h_next) {
          copy_floats(at.h_next, at.h, count);
        }
      }
    };
    for (int64_t panel = share.begin; panel < share.end; ++panel) {
      const int64_t unit = panel * hidden[0].width(), count = hidden[0].columns(panel);
      add_input(panel, x, row, active, unit, count);
      for (const HiddenRun& run : Cell::kHiddenRuns) {
        multiply(run, panel, h, row, active, unit, count);
      }
      if constexpr (Cell::kResetBefore) {
        for (int64_t r = 0; r < active; ++r) {
          const CellRow at = row_of(r, unit);
          reset_row<Cell>(s.hidden, count, at.gates, saved.h_in + (row + r) * p + unit,
                          saved.reset_h + (row + r) * s.hidden + unit);
        }
      } else if constexpr (!Cell::kNorms) {
        cells(unit, count);
      }
    }
    if constexpr (Cell::kResetBefore) {
      group.wait(context);
      const float* reset_h = saved.reset_h + row * s.hidden;
      const TileA reset = products.rows(active, s.hidden, reset_h, s.hidden, rounded_);
      if (int8 != nullptr) quantized_->fill(0, active, s.hidden, reset_h, s.hidden);
      for (int64_t panel = share.begin; panel < share.end; ++panel) {
        const int64_t unit = panel * hidden[0].width(), count = hidden[0].columns(panel);
        for (const HiddenRun& run : Cell::kResetRuns) {
          multiply(run, panel, reset, row, active, unit, count);
        }
        cells(unit, count);
      }
    }
    if constexpr (Cell::kNorms) {
      const RowSums sums{group, s.hidden, hidden[0].width(), hidden[0].count(), s.batch, norm_sums};
      norm_forward<Cell>(sums, *norms, part.begin, active, row_of, context);
      const Units own = sums.units(group.thread);
      for (int64_t r = 0; options.any && r < active; ++r) {
        finish(row + r, part.begin + r, r < going_on, next_row, own.begin, own.count,
               row_of(r, own.begin));
      }
    }
  }

  // This thread's columns of y = u W_hr^T.
  void project(const BatchSlice& slice, int64_t first_row, int64_t active, int64_t next_row,
               int64_t next_active) const {
    const int64_t row = first_row + slice.begin, y_width = s.directions * s.out();
    const PanelRange outputs = group.share(projection.count());
    const TileA u = products.rows(active, s.hidden, saved.u + row * s.hidden, s.hidden, rounded_);
    if (int8 != nullptr) quantized_->fill(0, active, s.hidden, saved.u + row * s.hidden, s.hidden);
    for (int64_t panel = outputs.begin; panel < outputs.end; ++panel) {
      const int64_t column = panel * projection.width(), count = projection.columns(panel);
      float* h = y + row * y_width + column;
      if (int8 != nullptr) {
        Int8Weights{int8->w_hr, s.proj, s.hidden}.multiply(
            0, column, count, active, quantized_->rows(), h, y_width, nullptr, 0);
      } else {
        products.multiply(projection, panel, active, u, h, y_width, nullptr, 0);
      }
      for (int64_t r = 0; r < active; ++r) {
        const int64_t n = slice.begin + r;
        if (options.any) {
          finish_h(row + r, n, r < next_active, next_row, column, count, h + r * y_width);
        } else {
          copy_floats(next_h(n, r < next_active, next_row) + column, h + r * y_width, count);
        }
      }
    }
  }

  // The input product of `count` units, where it is not there yet.
  void add_input(int64_t panel, const TileA& x, int64_t row, int64_t active, int64_t unit,
                 int64_t count) const {
    const int64_t width = gate_row(Cell::kBlocks, s.hidden);
    for (int gate = 0; gate < Cell::kGates; ++gate) {
      const int64_t column = (Cell::kInputBlock + gate) * s.hidden + unit;
      float* c = saved.gates + row * width + column;
      if (input.panels != nullptr) {
        products.multiply(input.panels[gate], panel, active, x, c, width, bias + column, 0);
      } else if (input.lookup != nullptr) {
        for (int64_t r = 0; r < active; ++r) {
          input.lookup->write(input.index[row + r], gate * s.hidden + unit, count, c + r * width);
        }
      }
    }
  }

  // Adds the recurrent product of some gates of `count` units to their blocks, which the input
  // product or the bias has begun. h: [active, P], h(t-1) or what the cell has made of it.
  void multiply(const HiddenRun& run, int64_t panel, const TileA& h, int64_t row, int64_t active,
                int64_t unit, int64_t count) const {
    const int64_t width = gate_row(Cell::kBlocks, s.hidden), p = s.out();
    for (int i = 0; i < run.count; ++i) {
      const int block = run.block + i;
      float* c = saved.gates + row * width + block * s.hidden + unit;
      // What the input product has not filled begins with the bias.
      const bool filled = block >= Cell::kInputBlock;
      const float* from = filled ? c : bias + block * s.hidden + unit;
      const int64_t from_ld = filled ? width : 0;
      if (int8 != nullptr) {
        Int8Weights{int8->w_hh, s.hidden, p}.multiply(run.gate + i, unit, count, active,
                                                      quantized_->rows(), c, width, from, from_ld);
      } else if (hidden[block].data != nullptr) {
        products.multiply(hidden[block], panel, active, h, c, width, from, from_ld);
      } else if (kept != nullptr) {
        bf16_kernels().multiply_rows(
            active, count, p, h.data, p,
            kept->w_hh + ((run.gate + i) * s.hidden + unit) * kept_words(p), c, width, from,
            from_ld);
      } else {
        multiply_rows(active, count, p, h.data, p, w.w_hh + ((run.gate + i) * s.hidden + unit) * p,
                      p, c, width, from, from_ld);
      }
    }
  }
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
  Scratch unkept(keep ? 1 : RnnWorkspace(Cell{}, one_layer).floats());
  const RnnWorkspace workspace(Cell{}, kept, keep ? args.workspace : unkept.data());
  // And two outputs below the last layer's are read from and written to in turn.
  Scratch even_output(keep || s.layers < 2 ? 1 : workspace.layer_output_floats());
  Scratch odd_output(keep || s.layers < 3 ? 1 : workspace.layer_output_floats());

  RnnGrid grid = rnn_grid(s, Cell::kGates, context.pool.threads(), args.int8 != nullptr ? 1 : 4);
  if (args.int8 != nullptr) grid.vectors = int8_vectors(s, grid.threads);
  const Products products(rounds_products(s, args.bf16));
  const auto kept_of = [&](int64_t stack) {
    const bool there = args.kept != nullptr && args.kept[stack].w_hh != nullptr;
    return there && s.rows <= kFewRows ? args.kept + stack : nullptr;
  };
  const int64_t norm_floats = Cell::kNorms ? RowSums::kSums * grid.threads * s.batch : 0;
  Scratch norm_sums(std::max<int64_t>(s.directions * norm_floats, 1));
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
                         products, kept_of(layer * s.directions + d),
                         args.int8 != nullptr ? args.int8 + layer * s.directions + d : nullptr,
                         workspace.stack(kept_layer, d), context);
    }
    Barriers barriers(s.directions * grid.slices);
    context.pool.parallel(static_cast<int>(s.directions) * grid.per_direction(), [&](int task) {
      const int64_t d = task / grid.per_direction(), stack = layer * s.directions + d;
      const int slice = task % grid.per_direction() / grid.threads;
      ForwardLoop<Cell> loop{
          .s = s,
          .w = args.weights[stack],
          .products = products,
          .kept = kept_of(stack),
          .int8 = args.int8 != nullptr ? args.int8 + stack : nullptr,
          .bias = weights[d]->bias(),
          .hidden = weights[d]->hidden,
          .projection = weights[d]->projection,
          .input = weights[d]->input,
          .at_once = weights[d]->at_once,
          .saved = workspace.stack(kept_layer, d),
          .h0 = args.h0 ? args.h0 + stack * s.batch * p : nullptr,
          .c0 = args.c0 ? args.c0 + stack * s.batch * Cell::kStates * s.hidden : nullptr,
          .y = y + d * p,
          .hn = args.hn + stack * s.batch * p,
          .cn = Cell::kHasC ? args.cn + stack * s.batch * Cell::kStates * s.hidden : nullptr,
          .reverse = d == 1,
          .group = {task % grid.threads, grid.threads, barriers[task / grid.threads]},
          .norms = weights[d]->norms ? &*weights[d]->norms : nullptr,
          .norm_sums = norm_sums.data() + d * norm_floats,
          .options = StepOptions(args.options, s, stack)};
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
