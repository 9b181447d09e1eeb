// LSTM without peepholes (Hochreiter & Schmidhuber 1997, with the forget gate of Gers et al. 2000),
// torch.nn.LSTM's equations:
//   i, f, o = sigmoid(.)   g = tanh(.)   c = f c(t-1) + i g   h = o tanh(c)
#pragma once

#include "cells/cell.h"

namespace fused_rnn {
#if defined(FUSED_RNN_ISA)
namespace FUSED_RNN_ISA {
#endif

struct LstmCell : PlainCell {
  static constexpr int kGates = 4;
  static constexpr int kBlocks = 4;  // i, f, g, o
  static constexpr int kInputBlock = 0;
  static constexpr bool kHasC = true;
  static constexpr bool kDirectH = false;
  static constexpr HiddenRun kHiddenRuns[] = {{0, 0, 4}};

  template <class F>
  FUSED_RNN_HD static void forward(F (&s)[kBlocks], F, F c_prev, F& h, F& c) {
    F &i = s[0], &f = s[1], &g = s[2], &o = s[3];
    i = gate_(i);
    f = gate_(f);
    g = tanh_(g);
    o = gate_(o);
    c = f * c_prev + i * g;
    h = o * tanh_(c);
  }

  template <class F>
  FUSED_RNN_HD static void backward(F (&s)[kBlocks], F, F c_prev, F dh, F dc, F&, F& dc_prev) {
    const F i = s[0], f = s[1], g = s[2], o = s[3];
    const F tanh_c = tanh_(f * c_prev + i * g);
    dc += dh * o * (1.0f - tanh_c * tanh_c);
    s[0] = dc * g * i * (1.0f - i);
    s[1] = dc * c_prev * f * (1.0f - f);
    s[2] = dc * i * (1.0f - g * g);
    s[3] = dh * tanh_c * o * (1.0f - o);
    dc_prev = dc * f;
  }
};

#if defined(FUSED_RNN_ISA)
}  // namespace FUSED_RNN_ISA
#endif
}  // namespace fused_rnn
