// LSTM with peepholes (Gers & Schmidhuber 2000): the gates see the cell state, i and f the old one, o
// the new one, each through a weight of every unit, as in ONNX's P:
//   i = sigmoid(. + w_ci c(t-1))   f = sigmoid(. + w_cf c(t-1))   g = tanh(.)
//   c = f c(t-1) + i g   o = sigmoid(. + w_co c)   h = o tanh(c)
#pragma once

#include "cells/cell.h"

namespace fused_rnn {
#if defined(FUSED_RNN_ISA)
namespace FUSED_RNN_ISA {
#endif

struct LstmPeepholeCell : PlainCell {
  static constexpr int kGates = 4;
  static constexpr int kBlocks = 4;  // i, f, g, o
  static constexpr int kInputBlock = 0;
  static constexpr bool kHasC = true;
  static constexpr bool kDirectH = false;
  static constexpr int kUnitWeights = 3;  // w_ci, w_cf, w_co
  static constexpr HiddenRun kHiddenRuns[] = {{0, 0, 4}};

  template <class F>
  FUSED_RNN_HD static void forward(F (&s)[kBlocks], const F (&w)[kUnitWeights], F, F c_prev, F& h,
                                   F& c) {
    F &i = s[0], &f = s[1], &g = s[2], &o = s[3];
    i = gate_(i + w[0] * c_prev);
    f = gate_(f + w[1] * c_prev);
    g = tanh_(g);
    c = f * c_prev + i * g;
    o = gate_(o + w[2] * c);
    h = o * tanh_(c);
  }

  template <class F>
  FUSED_RNN_HD static void backward(F (&s)[kBlocks], const F (&w)[kUnitWeights], F, F c_prev, F dh,
                                    F dc, F&, F& dc_prev, F (&dw)[kUnitWeights]) {
    const F i = s[0], f = s[1], g = s[2], o = s[3];
    const F c = f * c_prev + i * g, tanh_c = tanh_(c);
    // Of the pre-activations.
    const F d_o = dh * tanh_c * o * (1.0f - o);
    dc += dh * o * (1.0f - tanh_c * tanh_c) + d_o * w[2];
    const F d_i = dc * g * i * (1.0f - i);
    const F d_f = dc * c_prev * f * (1.0f - f);
    s[0] = d_i;
    s[1] = d_f;
    s[2] = dc * i * (1.0f - g * g);
    s[3] = d_o;
    dc_prev = dc * f + d_i * w[0] + d_f * w[1];
    dw[0] = d_i * c_prev;
    dw[1] = d_f * c_prev;
    dw[2] = d_o * c;
  }
};

#if defined(FUSED_RNN_ISA)
}  // namespace FUSED_RNN_ISA
#endif
}  // namespace fused_rnn
