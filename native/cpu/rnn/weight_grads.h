// The gradients of a layer's weights and biases from those of its gates: one product (or column
// sum) each over all time steps.
#pragma once

#include "cells/cells.h"
#include "cells/unit_weights.h"
#include "cpu/gemm.h"
#include "cpu/one_hot_rows.h"
#include "cpu/reduce.h"
#include "cpu/rnn/layer_norm.h"
#include "cpu/rnn/workspace.h"

FUSED_RNN_KERNELS_BEGIN

// Those of `g` that are wanted, of one layer and direction.
//   saved     gates [rows, B*H]: their gradients, as the time loop left them; h_in [rows, P]
//   x         [rows, inputs], or the index of each row's 1
//   dh_total  [rows, P], with projection: the gradient of every h
//
//   dw_ih = dgates^T x   dw_hh = dgates^T h_in   dw_hr = dh_total^T u   db = sum of dgates
template <class Cell>
void weight_gradients(const RnnShape& s, const RnnWeightGrads& g, const RnnStackSaved& saved,
                      const RnnInput& x, int64_t inputs, const float* dh_total, bool bf16,
                      Context& context) {
  const int64_t h = s.hidden, p = s.out(), width = gate_row(Cell::kBlocks, h);
  const float* dgates_x = saved.gates + Cell::kInputBlock * h;
  if (g.dw_ih != nullptr && x.index != nullptr) {
    sum_into_columns(dgates_x, width, Cell::kGates * h, inputs, x.index, s.rows, g.dw_ih, context);
  } else if (g.dw_ih != nullptr) {
    gemm({.trans_a = Trans::yes,
          .m = Cell::kGates * h,
          .n = inputs,
          .k = s.rows,
          .a = dgates_x,
          .lda = width,
          .b = x.values,
          .ldb = inputs,
          .c = g.dw_ih,
          .ldc = inputs,
          .bf16 = bf16},
         context);
  }
  if (g.dw_hh != nullptr) {
    each_run<Cell>([&](const HiddenRun& run, bool reset) {
      gemm({.trans_a = Trans::yes,
            .m = run.count * h,
            .n = p,
            .k = s.rows,
            .a = saved.gates + run.block * h,
            .lda = width,
            .b = reset ? saved.reset_h : saved.h_in,
            .ldb = p,
            .c = g.dw_hh + run.gate * h * p,
            .ldc = p,
            .bf16 = bf16},
           context);
    });
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
          .ldc = h,
          .bf16 = bf16},
         context);
  }
  if (Cell::kNorms || (g.db_ih == nullptr && g.db_hh == nullptr)) return;
  Scratch sums(Cell::kBlocks * h);
  column_sum(saved.gates, 1, s.rows, Cell::kBlocks * h, width, 1, sums.data(), context);
  if (g.db_ih != nullptr) {
    copy_floats(g.db_ih, sums.data() + Cell::kInputBlock * h, Cell::kGates * h);
  }
  if (g.db_hh != nullptr) {
    each_run<Cell>([&](const HiddenRun& run, bool) {
      copy_floats(g.db_hh + run.gate * h, sums.data() + run.block * h, run.count * h);
    });
  }
}

// From what the slices have added up.
inline void norm_gradients(const RnnWeightGrads& g, const float* slices, int64_t count,
                           int64_t gates, int64_t hidden, Context& context) {
  const int64_t floats = NormGrads::floats(gates, hidden), n = gates * hidden;
  Scratch sums(floats);
  column_sum(slices, 1, count, floats, floats, 1, sums.data(), context);
  const NormGrads sum(sums.data(), gates, hidden);
  const auto copy = [](float* to, const float* from, int64_t floats) {
    if (to != nullptr) copy_floats(to, from, floats);
  };
  copy(g.db_ih, sum.shift, n);
  copy(g.db_hh, sum.shift, n);
  copy(g.db_c, sum.shift_c, hidden);
  copy(g.dg_ih, sum.g_ih, n);
  copy(g.dg_hh, sum.g_hh, n);
  copy(g.dg_c, sum.g_c, hidden);
}

// slices: [count, kUnitWeights, H], what the slices have added up.
template <class Cell>
void unit_gradients(const UnitWeightGrads& grads, const float* slices, int64_t count,
                    int64_t hidden, Context& context) {
  for (int k = 0; k < Cell::kUnitWeights; ++k) {
    if (grads.of[k] == nullptr) continue;
    column_sum(slices + k * hidden, 1, count, hidden, Cell::kUnitWeights * hidden, 1, grads.of[k],
               context);
  }
}

FUSED_RNN_KERNELS_END
