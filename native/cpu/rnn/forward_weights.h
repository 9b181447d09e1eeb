// What the forward pass makes of a layer's weights and input before the time loop begins:
//   1. the biases, by block of the gate matrix;
//   2. W_hh, packed into panels by block; W_hr, packed;
//   3. the input product: one for all steps, or W_ih packed for a product in each step, or, of
//      one-hot rows, W_ih's columns to be looked up;
//   4. with norms, the input product's moments.
// G, B, H, P as in forward.cpp.
#pragma once

#include <optional>
#include <utility>

#include "cells/cells.h"
#include "cpu/bf16/products.h"
#include "cpu/gemm.h"
#include "cpu/int8/products.h"
#include "cpu/one_hot_rows.h"
#include "cpu/rnn/layer_norm.h"
#include "cpu/rnn/threads.h"
#include "cpu/rnn/workspace.h"
#include "cpu/vector.h"

FUSED_RNN_KERNELS_BEGIN

// bias [B*H]: by block of the gate matrix, those of both products where they meet. Behind norms
// there are none.
template <class Cell>
void block_biases(const RnnShape& s, const RnnWeights& w, float* bias) {
  copy_or_zero(bias, nullptr, Cell::kBlocks * s.hidden);
  if (!s.bias || Cell::kNorms) return;
  copy_floats(bias + Cell::kInputBlock * s.hidden, w.b_ih, Cell::kGates * s.hidden);
  if (w.b_hh == nullptr) return;
  each_run<Cell>([&](const HiddenRun& run, bool) {
    float* to = bias + run.block * s.hidden;
    const float* from = w.b_hh + run.gate * s.hidden;
    for (int64_t i = 0; i < run.count * s.hidden; ++i) to[i] += from[i];
  });
}

// How the input product gets into its blocks of the gate matrix.
struct StepInput {
  // Of one-hot rows: a lookup in each step.
  const OneHotProduct* lookup = nullptr;
  const int32_t* index = nullptr;
  // With small weights, a product in each step with W_ih^T, by gate.
  const Panels* panels = nullptr;
  const float* x = nullptr;
  int64_t inputs = 0;
  // Otherwise one product for all steps has filled them.
};

// What one direction of a layer needs besides its tensors.
template <class Cell>
class ForwardWeights {
 public:
  ForwardWeights(const RnnShape& s, const RnnWeights& w, const RnnInput& x, int64_t inputs,
                 const RnnGrid& grid, const Products& products, const RnnKeptWeights* kept,
                 const RnnInt8Weights* int8, const RnnStackSaved& saved, Context& context)
      : products_(products),
        bias_(Cell::kBlocks * s.hidden),
        packed_(int8 == nullptr ? Cell::kGates * products.floats(s.out(), s.hidden) : 1),
        packed_hr_(int8 == nullptr && s.proj > 0 ? products.floats(s.hidden, s.proj) : 1),
        packed_ih_(int8 == nullptr && fits(s, inputs)
                       ? Cell::kGates * products.floats(inputs, s.hidden)
                       : 1) {
    block_biases<Cell>(s, w, bias_.data());
    at_once = rows_at_once(weight_bytes(s, s.out()));
    pack_hidden(s, w, int8 == nullptr && s.rows > kFewRows, grid, context);
    if (s.proj > 0) {
      projection = products.panels(s.hidden, s.proj, grid.vectors);
      projection.data = packed_hr_.data();
      if (int8 == nullptr) {
        products.pack(projection, Trans::yes, s.hidden, w.w_hr, s.hidden, packed_hr_.data(),
                      context);
      }
    }
    if (int8 != nullptr) {
      multiply_int8({int8->w_ih, s.hidden, inputs}, Cell::kGates, s.rows, x.values,
                    saved.gates + Cell::kInputBlock * s.hidden, gate_row(Cell::kBlocks, s.hidden),
                    bias_.data() + Cell::kInputBlock * s.hidden, context);
    } else {
      take_input(s, w, kept, x, inputs, grid, saved.gates, context);
    }
    if constexpr (Cell::kNorms) norm_input(s, w, saved, context);
  }

  const float* bias() const { return bias_.data(); }
  Panels hidden[Cell::kBlocks];  // by block
  Panels projection;
  StepInput input;
  std::optional<NormWeights> norms;
  int64_t at_once;

 private:
  static int64_t weight_bytes(const RnnShape& s, int64_t k) {
    return Cell::kGates * s.hidden * k * static_cast<int64_t>(sizeof(float));
  }
  // Whether both products go through the steps together: one pass over the gates less, where the
  // weights of both stay in the nearest cache. Norms need the whole rows first.
  static bool fits(const RnnShape& s, int64_t inputs) {
    return !Cell::kNorms && s.rows > kFewRows &&
           rows_at_once(weight_bytes(s, s.out() + inputs)) < INT64_MAX;
  }

  // Packing costs as much as a few rows' products.
  void pack_hidden(const RnnShape& s, const RnnWeights& w, bool pack, const RnnGrid& grid,
                   Context& context) {
    float* to = packed_.data();
    each_run<Cell>([&](const HiddenRun& run, bool) {
      for (int i = 0; i < run.count; ++i) {
        Panels& panels = hidden[run.block + i];
        panels = products_.panels(s.out(), s.hidden, grid.vectors);
        if (!pack) continue;
        panels.data = to;
        products_.pack(panels, Trans::yes, s.out(), w.w_hh + (run.gate + i) * s.hidden * s.out(),
                       s.out(), to, context);
        to += panels.floats();
      }
    });
  }

  void take_input(const RnnShape& s, const RnnWeights& w, const RnnKeptWeights* kept,
                  const RnnInput& x, int64_t inputs, const RnnGrid& grid, float* gates,
                  Context& context) {
    const float* start = bias_.data() + Cell::kInputBlock * s.hidden;
    const int64_t n = Cell::kGates * s.hidden;
    if (x.index != nullptr) {
      input.lookup = &lookup_.emplace(w.w_ih, n, inputs, start, s.rows, context);
      input.index = x.index;
    } else if (fits(s, inputs)) {
      input.panels = input_panels_;
      input.x = x.values;
      input.inputs = inputs;
      float* to = packed_ih_.data();
      for (int gate = 0; gate < Cell::kGates; ++gate) {
        input_panels_[gate] = products_.panels(inputs, s.hidden, grid.vectors);
        input_panels_[gate].data = to;
        products_.pack(input_panels_[gate], Trans::yes, inputs, w.w_ih + gate * s.hidden * inputs,
                       inputs, to, context);
        to += input_panels_[gate].floats();
      }
    } else if (kept != nullptr) {
      multiply_kept(s.rows, n, inputs, x.values, kept->w_ih, gates + Cell::kInputBlock * s.hidden,
                    gate_row(Cell::kBlocks, s.hidden), start, context);
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
            .start = start,
            .bf16 = products_.bf16()},
           context);
    }
  }

  // Once for all steps: they use the same rows.
  void norm_input(const RnnShape& s, const RnnWeights& w, const RnnStackSaved& saved,
                  Context& context) {
    norms.emplace(s, w, Cell::kGates);
    const int64_t n = Cell::kGates * s.hidden;
    const StepInput from = std::exchange(input, {});
    input_moments(
        saved.gates + Cell::kInputBlock * s.hidden, gate_row(Cell::kBlocks, s.hidden), n, s.rows,
        saved,
        [&](int64_t row, float* product) {
          if (from.lookup != nullptr) from.lookup->write(from.index[row], 0, n, product);
        },
        context);
  }

  const Products products_;
  Scratch bias_, packed_, packed_hr_, packed_ih_;
  Panels input_panels_[Cell::kGates];
  std::optional<OneHotProduct> lookup_;
};

FUSED_RNN_KERNELS_END
