// LSTM with layer normalisation (Ba, Kiros & Hinton 2016, "Layer Normalization", equations 20-22):
//   a = LN(W_ih x) + LN(W_hh h(t-1))
//   i, f, o = sigmoid(a)   g = tanh(a)   c = f c(t-1) + i g   h = o tanh(LN(c))
// Each LN has a gain and a shift. Those of the products are taken over all 4 H numbers, as there,
// not gate by gate; c(t) goes on to the next step as it is.
#pragma once

#include "cells/cell.h"
#include "cells/norm.h"

namespace fused_rnn {
#if defined(FUSED_RNN_ISA)
namespace FUSED_RNN_ISA {
#endif

struct LayerNormLstmCell : PlainCell {
  static constexpr int kGates = 4;
  static constexpr int kBlocks = 8;  // W_hh h(t-1), then W_ih x; i, f, g, o each
  static constexpr int kInputBlock = 4;
  static constexpr bool kHasC = true;
  static constexpr bool kDirectH = false;
  static constexpr bool kNorms = true;
  static constexpr HiddenRun kHiddenRuns[] = {{0, 0, 4}};

  // c, from i, f, g, o.
  template <class F>
  FUSED_RNN_HD static F state(const F (&s)[kGates], F c_prev) {
    const F &i = s[0], &f = s[1], &g = s[2];
    return f * c_prev + i * g;
  }
  // s: a, becomes i, f, g, o.
  template <class F>
  FUSED_RNN_HD static void gates(F (&s)[kGates], F c_prev, F& c) {
    F &i = s[0], &f = s[1], &g = s[2], &o = s[3];
    i = gate_(i);
    f = gate_(f);
    g = tanh_(g);
    o = gate_(o);
    c = state(s, c_prev);
  }
  // norm: LN(c).
  template <class F>
  FUSED_RNN_HD static F output(F o, F norm) {
    return o * tanh_(norm);
  }

  // s: i, f, g, o, whose last becomes its gradient.
  template <class F>
  FUSED_RNN_HD static void output_backward(F (&s)[kGates], F norm, F dh, F& dnorm) {
    const F o = s[3], t = tanh_(norm);
    dnorm = dh * o * (1.0f - t * t);
    s[3] = dh * t * o * (1.0f - o);
  }
  // s: as output_backward left it, becomes a's gradient.
  template <class F>
  FUSED_RNN_HD static void gates_backward(F (&s)[kGates], F c_prev, F dc, F& dc_prev) {
    const F i = s[0], f = s[1], g = s[2];
    s[0] = dc * g * i * (1.0f - i);
    s[1] = dc * c_prev * f * (1.0f - f);
    s[2] = dc * i * (1.0f - g * g);
    dc_prev = dc * f;
  }
};

#if defined(FUSED_RNN_ISA)
}  // namespace FUSED_RNN_ISA
#endif
}  // namespace fused_rnn
