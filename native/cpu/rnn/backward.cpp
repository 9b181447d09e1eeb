// The backward pass of recurrent layers over whole sequences, through time: one loop for every
// cell.
//
//   T steps   N sequences   I inputs   H units   P = proj_size or H   D directions   L layers
//   G gates   B blocks of the gate matrix (cells/cell.h)   rows: those of all steps (ops/ops.h)
//
// For each layer, from the last, both directions side by side:
//   1. BackwardWeights packs W_hh, its rows in the order of the gate matrix's blocks
//      (backward_weights.h).
//   2. BackwardLoop goes through time against the direction of forward. In each step, a thread does
//      for its panels of columns: (a) dh(t) = dgates(t+1) W_hh, plus what reaches h(t) from dy and
//      past the gates; (b) the cell, which turns the saved gates into their gradients, and dc(t)
//      into dc(t-1). With a projection the threads meet between the two, and dh W_hr comes first.
//      What RnnStepOptions asks for goes around the cell (step_options.h).
//      Where a gate comes before a part of the recurrent product (Cell::kResetBefore), they meet
//      behind (b), and the gradient goes back through that product, then through the gate.
//   3. The gradients of weights, biases and the layer's input: one product or column sum each over
//      all steps (weight_grads.h). Of small layers under a wide batch they are added up in the loop
//      instead (step_grads.h).
//   4. Dropout on the gradient that goes to the layer below (dropout.h).
#include <optional>

#include "cells/cells.h"
#include "cells/unit_weights.h"
#include "cpu/gemm.h"
#include "cpu/isa.h"
#include "cpu/rnn/backward_weights.h"
#include "cpu/rnn/cell_rows.h"
#include "cpu/rnn/dropout.h"
#include "cpu/rnn/layer_norm.h"
#include "cpu/rnn/step_grads.h"
#include "cpu/rnn/step_options.h"
#include "cpu/rnn/threads.h"
#include "cpu/rnn/weight_grads.h"
#include "cpu/rnn/workspace.h"

FUSED_RNN_KERNELS_BEGIN
namespace {

// One layer and direction, for one slice of the batch and one thread's share of the columns, over
// all steps.
//
// A step's gradient of h(t) comes from the gates of the step that followed: block by block of
// units, the product with W_hh and, while the block is in the cache, the cell.
template <class Cell>
struct BackwardLoop {
  const RnnShape& s;
  const RnnWeights& w;
  const Products& products;
  const Panels& hidden;      // W_hh, its gates in the order of the gate matrix's blocks
  const Panels& projection;  // W_hr
  const Panels& reset;       // cells with a second product: its gates of W_hh
  RnnStackSaved saved;
  const float* dy;   // this direction's columns of [rows, D*P], or null
  const float* dhn;  // [N, P] or null
  const float* dcn;  // [N, H] or null
  float* dh;         // [N, P]: on its way back through time; in the end dh0
  float* dc;         // [N, H]
  float* dh_total;   // [rows, P], with projection: the gradient of every h, for dw_hr
  float* du;         // [N, H], with projection: of one step's h before it is projected; with a
                     // second product: of what that multiplies
  bool reverse;
  bool needs_dh0;
  ThreadGroup group;
  const NormWeights* norms;           // cells with norms
  float* norm_sums;                   // their RowSums's
  float* norm_scratch;                // [N, G*H]
  float* norm_grads;                  // of this slice, NormGrads
  float* unit_sums;                   // [kUnitWeights, H], of this slice
  const StepGrads<Cell>* step_grads;  // or null
  int slice_index;
  StepOptions options;

  void run(const BatchSlice& slice, Context& context) {
    const int64_t words =
        std::max(products.row_words(Cell::kGates * s.hidden), products.row_words(s.out()));
    Scratch rounded(products.bf16() ? (slice.end - slice.begin) * words : 1);
    rounded_ = rounded.data();
    const int64_t rows = slice.end - slice.begin;
    Scratch product(options.h_factor != nullptr ? rows * hidden.width() : 1);
    product_ = product.data();
    Scratch kept(Cell::kNorms && options.any ? 2 * rows * s.hidden : 1);
    kept_ = kept.data();
    if (step_grads == nullptr) return walk(slice, nullptr, context);
    // The gates' gradients of two steps, for a few sequences at a time.
    const int64_t size = cut_evenly(slice.end - slice.begin, StepGrads<Cell>::kRows);
    Scratch few(2 * size * gate_row(Cell::kBlocks, s.hidden) + step_grads->scratch_floats());
    for (int64_t n = slice.begin; n < slice.end; n += size) {
      walk({n, std::min(n + size, slice.end)}, few.data(), context);
    }
  }

  float* rounded_ = nullptr;  // what this thread multiplies next, rounded
  float* product_ = nullptr;  // with h_factor: a product before it
  float* kept_ = nullptr;     // with norms and options: what of the gradients passes the cells by

 private:
  // The slice's part of a step: its first row in the arrays of all rows, how many there are, and
  // the gradients of their gates.
  struct Step {
    int64_t row;
    int64_t active;
    float* dgates;
  };

  void walk(const BatchSlice& slice, float* few, Context& context) const {
    // Against the direction that forward took.
    int64_t row = reverse ? 0 : s.rows - s.batch_sizes[s.steps - 1];
    Step before{0, 0, nullptr};
    const int64_t width = gate_row(Cell::kBlocks, s.hidden);
    const int64_t few_floats = (slice.end - slice.begin) * width;
    for (int64_t i = 0; i < s.steps; ++i) {
      context.check_stop();
      const int64_t t = reverse ? i : s.steps - 1 - i;
      const int64_t first = row + slice.begin;
      const Step now{first, slice.count(s.batch_sizes[t]),
                     few ? few + i % 2 * few_floats : saved.gates + first * width};
      // Until the longest of these sequences has its last step.
      if (few == nullptr || now.active > 0) step(slice, before, now, context);
      if (few && now.active > 0) {
        step_grads->add(slice_index, first, now.active, now.dgates, saved.h_in,
                        few + 2 * few_floats);
        if (t % StepGrads<Cell>::kSteps == 0) step_grads->flush(slice_index);
      }
      group.wait(context);
      before = now;
      if (i + 1 < s.steps) row += reverse ? s.batch_sizes[t] : -int64_t{s.batch_sizes[t - 1]};
    }
    if (!needs_dh0) return;
    const PanelRange share = group.share(hidden.count());
    const TileA dgates = rows_before(before);
    for (int64_t panel = share.begin; panel < share.end; ++panel) {
      multiply(slice, before, dgates, panel);
    }
  }

  void step(const BatchSlice& slice, const Step& before, const Step& now, Context& context) const {
    const int64_t p = s.out();
    const PanelRange share = group.share(hidden.count());
    const TileA dgates = rows_before(before);
    for (int64_t panel = share.begin; panel < share.end; ++panel) {
      const int64_t column = panel * hidden.width(), count = hidden.columns(panel);
      multiply(slice, before, dgates, panel);
      // Sequences whose last step this is begin with the gradient of their final state.
      for (int64_t r = before.active; r < now.active; ++r) {
        const int64_t n = slice.begin + r;
        copy_or_zero(dh + n * p + column, dhn ? dhn + n * p + column : nullptr, count);
      }
      for (int64_t r = 0; r < now.active; ++r) {
        float* to = dh + (slice.begin + r) * p + column;
        if (dy != nullptr) {
          const float* from = dy + (now.row + r) * s.directions * p + column;
          for (int64_t j = 0; j < count; ++j) to[j] += from[j];
        }
        if (s.proj == 0) continue;
        float* total = dh_total + (now.row + r) * p + column;
        copy_floats(total, to, count);
        if (options.any) options.split_h(now.row + r, column, count, total, to);
      }
      if constexpr (!Cell::kNorms) {
        if (s.proj == 0) cells(slice, before, now, column, count, dh);
      }
    }
    if (s.proj == 0) {
      if constexpr (Cell::kNorms) normed(slice, before, now, hidden, dh, context);
      if constexpr (Cell::kResetBefore) through_reset(slice, now, context);
      return;
    }
    group.wait(context);
    const PanelRange units = group.share(projection.count());
    const TileA dh_rows = products.rows(now.active, p, dh_total + now.row * p, p, rounded_);
    for (int64_t panel = units.begin; panel < units.end; ++panel) {
      const int64_t unit = panel * projection.width();
      products.multiply(projection, panel, now.active, dh_rows, du + slice.begin * s.hidden + unit,
                        s.hidden, nullptr, 0);
      if constexpr (!Cell::kNorms) {
        cells(slice, before, now, unit, projection.columns(panel), du);
      }
    }
    if constexpr (Cell::kNorms) normed(slice, before, now, projection, du, context);
  }

  // The gates' gradients that go back through W_hh.
  TileA rows_before(const Step& before) const {
    return products.rows(before.active, kHiddenGates<Cell> * s.hidden, before.dgates,
                         gate_row(Cell::kBlocks, s.hidden), rounded_);
  }

  // After the cells: what goes to h(t-1) through the second product and the gate before it.
  void through_reset(const BatchSlice& slice, const Step& now, const Context& context) const {
    const int64_t h = s.hidden, width = gate_row(Cell::kBlocks, h);
    constexpr HiddenRun kRun = Cell::kResetRuns[0];
    group.wait(context);
    const PanelRange share = group.share(reset.count());
    const TileA dgates =
        products.rows(now.active, kRun.count * h, now.dgates + kRun.block * h, width, rounded_);
    for (int64_t panel = share.begin; panel < share.end; ++panel) {
      const int64_t unit = panel * reset.width(), count = reset.columns(panel);
      const int64_t first = slice.begin * h + unit;
      products.multiply(reset, panel, now.active, dgates, du + first, h, nullptr, 0);
      for (int64_t r = 0; r < now.active; ++r) {
        if (options.h_factor != nullptr) {
          float* d = du + first + r * h;
          multiply_floats(d, d, options.h_factor + first + r * h, count);
        }
        reset_row_backward<Cell>(h, count, now.dgates + r * width + unit,
                                 saved.h_prev + (now.row + r) * h + unit, du + first + r * h,
                                 dh + first + r * h);
      }
    }
  }

  // dh of a panel of columns through the gates of the step before, for all sequences it had.
  void multiply(const BatchSlice& slice, const Step& before, const TileA& dgates,
                int64_t panel) const {
    if (before.active == 0) return;
    const int64_t p = s.out();
    float* to = dh + slice.begin * p + panel * hidden.width();
    const bool factor = options.h_factor != nullptr;
    const bool add = Cell::kDirectH || options.any;
    products.multiply(hidden, panel, before.active, dgates, factor ? product_ : to,
                      factor ? hidden.width() : p, add && !factor ? to : nullptr, p);
    if (options.any) finish_dh(slice, before, panel);
  }

  // With options: what came through W_hh goes through the factors, and no gradient through resets.
  void finish_dh(const BatchSlice& slice, const Step& before, int64_t panel) const {
    const int64_t p = s.out(), column = panel * hidden.width(), count = hidden.columns(panel);
    for (int64_t r = 0; r < before.active; ++r) {
      const int64_t at = (slice.begin + r) * p + column;
      if (options.resets(before.row + r)) {
        copy_or_zero(dh + at, nullptr, count);
      } else if (options.h_factor != nullptr) {
        add_products(dh + at, product_ + r * hidden.width(), options.h_factor + at, count);
      }
    }
  }

  int64_t c_row() const { return Cell::kStates * s.hidden; }

  // dc of `count` units of row r where its sequence has its last step; at: where c of them is.
  void start_c(int64_t r, const Step& before, int64_t at, int64_t count) const {
    if (!Cell::kHasC || r < before.active) return;
    for (int k = 0; k < Cell::kStates; ++k, at += s.hidden) {
      copy_or_zero(dc + at, dcn ? dcn + at : nullptr, count);
    }
  }

  // The cells with norms of this thread's units, whose panels are those of `shared`.
  void normed(const BatchSlice& slice, const Step& before, const Step& now, const Panels& shared,
              float* gradient, const Context& context) const {
    const int64_t h = s.hidden, g = Cell::kGates;
    const RowSums sums{group, h, shared.width(), shared.count(), s.batch, norm_sums};
    const Units own = sums.units(group.thread);
    for (int64_t r = 0; r < now.active; ++r) {
      const int64_t at = (slice.begin + r) * h + own.begin;
      start_c(r, before, at, own.count);
      if (!options.any) continue;
      float* kept = kept_ + 2 * r * h;
      options.before_cells<Cell>(now.row + r, own.begin, own.count, gradient + at, dc + at, kept,
                                 kept + h);
    }
    const auto row_of = [&](int64_t r) -> NormRowBackward {
      const int64_t row = now.row + r, at = (slice.begin + r) * h;
      return {saved.gates + row * gate_row(Cell::kBlocks, h), saved.moments[row],
              saved.c_prev + row * h, gradient + at, dc + at};
    };
    norm_backward<Cell>(sums, *norms, NormGrads(norm_grads, g, h),
                        norm_scratch + slice.begin * g * h, slice.begin, now.active, row_of,
                        context);
    for (int64_t r = 0; options.any && r < now.active; ++r) {
      const int64_t at = (slice.begin + r) * h + own.begin;
      const float* kept = kept_ + 2 * r * h;
      options.after_cells<Cell>(now.row + r, own.count, gradient + at, dc + at, kept, kept + h);
    }
  }

  // The cells of `count` units from `unit` on, with their gradients of h in `gradient` [N, H].
  void cells(const BatchSlice& slice, const Step& before, const Step& now, int64_t unit,
             int64_t count, float* gradient) const {
    const int64_t width = gate_row(Cell::kBlocks, s.hidden);
    for (int64_t r = 0; r < now.active; ++r) {
      const int64_t n = slice.begin + r, at = n * s.hidden + unit, c_at = n * c_row() + unit;
      float kept_h[kMaxVectors * kLanes], kept_c[Cell::kStates * kMaxVectors * kLanes];
      float *of_h = gradient + at, *of_c = Cell::kHasC ? dc + c_at : nullptr;
      start_c(r, before, c_at, count);
      if (options.any)
        options.before_cells<Cell>(now.row + r, unit, count, of_h, of_c, kept_h, kept_c);
      cell_row_backward<Cell>(
          s.hidden, unit_weights(w), unit_sums, unit, count,
          saved.gates + (now.row + r) * width + unit, now.dgates + r * width + unit,
          Cell::kDirectH ? saved.h_prev + (now.row + r) * s.hidden + unit : nullptr,
          Cell::kHasC ? saved.c_prev + (now.row + r) * c_row() + unit : nullptr, of_h, of_c);
      if (options.any) options.after_cells<Cell>(now.row + r, count, of_h, of_c, kept_h, kept_c);
    }
  }
};

template <class Cell>
void backward(const RnnBackwardArgs& args, Context& context) {
  const RnnShape& s = args.shape;
  const int64_t h = s.hidden, p = s.out(), width = gate_row(Cell::kBlocks, h);
  const RnnWorkspace workspace(Cell{}, s, args.workspace);
  const bool projected = s.proj > 0;
  Scratch dh(s.directions * s.batch * p);
  const int64_t c_floats = Cell::kHasC ? s.batch * Cell::kStates * h : 0;  // of a stack
  Scratch dc(std::max<int64_t>(s.directions * c_floats, 1));
  const bool twice = projected || Cell::kResetBefore;  // the threads meet twice a step
  Scratch du(twice ? s.directions * s.batch * h : 1);
  Scratch dh_total(projected ? s.directions * s.rows * p : 1);
  Scratch between(s.layers > 1 ? workspace.layer_output_floats() : 1);

  const RnnGrid grid = rnn_grid(s, Cell::kGates, context.pool.threads());
  const Products products(rounds_products(s, args.bf16));
  const int64_t norm_sums_floats = Cell::kNorms ? RowSums::kSums * grid.threads * s.batch : 0;
  const int64_t norm_floats = Cell::kNorms ? NormGrads::floats(Cell::kGates, h) : 0;
  Scratch norm_sums(std::max<int64_t>(s.directions * norm_sums_floats, 1));
  Scratch norm_scratch(Cell::kNorms ? s.directions * s.batch * Cell::kGates * h : 1);
  Scratch norm_grads(std::max<int64_t>(s.directions * grid.slices * norm_floats, 1));
  const int64_t unit_floats = Cell::kUnitWeights * h;
  Scratch unit_sums(std::max<int64_t>(s.directions * grid.slices * unit_floats, 1));
  const float* dy = args.dy;
  for (int64_t layer = s.layers - 1; layer >= 0; --layer) {
    std::optional<BackwardWeights<Cell>> weights[2];
    for (int64_t d = 0; d < s.directions; ++d) {
      weights[d].emplace(s, args.weights[layer * s.directions + d], grid, products, context);
    }
    const int64_t inputs = s.layer_input(layer);
    const RnnInput x = layer == 0 ? args.x : RnnInput{workspace.layer_output(layer - 1), nullptr};
    float* dx = layer == 0 ? args.dx : between.data();
    std::optional<StepGrads<Cell>> step_grads;
    if (StepGrads<Cell>::worth_it(s, inputs, grid)) {
      step_grads.emplace(s, args.weights[layer], args.grads[layer], x, inputs, dx, grid.slices,
                         context);
    }
    Barriers barriers(s.directions * grid.slices);
    copy_or_zero(norm_grads.data(), nullptr, s.directions * grid.slices * norm_floats);
    copy_or_zero(unit_sums.data(), nullptr, s.directions * grid.slices * unit_floats);
    context.pool.parallel(static_cast<int>(s.directions) * grid.per_direction(), [&](int task) {
      const int64_t d = task / grid.per_direction(), stack = layer * s.directions + d;
      const int slice = task % grid.per_direction() / grid.threads;
      BackwardLoop<Cell> loop{
          .s = s,
          .w = args.weights[stack],
          .products = products,
          .hidden = weights[d]->hidden,
          .projection = weights[d]->projection,
          .reset = weights[d]->reset,
          .saved = workspace.stack(layer, d),
          .dy = dy ? dy + d * p : nullptr,
          .dhn = args.dhn ? args.dhn + stack * s.batch * p : nullptr,
          .dcn = args.dcn ? args.dcn + stack * c_floats : nullptr,
          .dh = dh.data() + d * s.batch * p,
          .dc = dc.data() + d * c_floats,
          .dh_total = dh_total.data() + (projected ? d * s.rows * p : 0),
          .du = du.data() + (twice ? d * s.batch * h : 0),
          .reverse = d == 1,
          .needs_dh0 = args.dh0 != nullptr,
          .group = {task % grid.threads, grid.threads, barriers[task / grid.threads]},
          .norms = weights[d]->norms ? &*weights[d]->norms : nullptr,
          .norm_sums = norm_sums.data() + d * norm_sums_floats,
          .norm_scratch = norm_scratch.data() + (Cell::kNorms ? d * s.batch * Cell::kGates * h : 0),
          .norm_grads = norm_grads.data() + task / grid.threads * norm_floats,
          .unit_sums = unit_sums.data() + task / grid.threads * unit_floats,
          .step_grads = step_grads ? &*step_grads : nullptr,
          .slice_index = slice,
          .options = StepOptions(args.options, s, stack)};
      loop.run(batch_slice(s, slice, grid.slices), context);
    });

    for (int64_t d = 0; d < s.directions; ++d) {
      const int64_t stack = layer * s.directions + d;
      const RnnStackSaved saved = workspace.stack(layer, d);
      if (step_grads) {
        step_grads->finish();
      } else {
        weight_gradients<Cell>(s, args.grads[stack], saved, x, inputs,
                               dh_total.data() + (projected ? d * s.rows * p : 0), products.bf16(),
                               context);
      }
      if (Cell::kNorms) {
        norm_gradients(args.grads[stack], norm_grads.data() + d * grid.slices * norm_floats,
                       grid.slices, Cell::kGates, h, context);
      }
      unit_gradients<Cell>(unit_weight_grads(args.grads[stack]),
                           unit_sums.data() + d * grid.slices * unit_floats, grid.slices, h,
                           context);
      if (dx != nullptr && !step_grads) {
        gemm({.m = s.rows,
              .n = inputs,
              .k = Cell::kGates * h,
              .a = saved.gates + Cell::kInputBlock * h,
              .lda = width,
              .b = args.weights[stack].w_ih,
              .ldb = inputs,
              .c = dx,
              .ldc = inputs,
              .start = d == 0 ? nullptr : dx,
              .start_ld = inputs,
              .bf16 = products.bf16()},
             context);
      }
      if (args.dh0 != nullptr) {
        copy_floats(args.dh0 + stack * s.batch * p, dh.data() + d * s.batch * p, s.batch * p);
      }
      if (Cell::kHasC && args.dc0 != nullptr) {
        copy_floats(args.dc0 + stack * c_floats, dc.data() + d * c_floats, c_floats);
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
