// GRU as Cho et al. 2014 have it, with the reset gate before the recurrent product (Keras's
// reset_after=False, ONNX's linear_before_reset=0):
//   r, z = sigmoid(.)   n = tanh(W_in x + b_in + W_hn (r h(t-1)) + b_hn)
//   h = (1 - z) n + z h(t-1)
#pragma once

#include "cells/cell.h"

namespace fused_rnn {
#if defined(FUSED_RNN_ISA)
namespace FUSED_RNN_ISA {
#endif

struct GruResetBeforeCell : PlainCell {
  static constexpr int kGates = 3;
  static constexpr int kBlocks = 3;  // r, z, n
  static constexpr int kInputBlock = 0;
  static constexpr bool kHasC = false;
  static constexpr bool kDirectH = true;
  static constexpr bool kResetBefore = true;
  static constexpr int kResetBlock = 0;
  static constexpr HiddenRun kHiddenRuns[] = {{0, 0, 2}};
  static constexpr HiddenRun kResetRuns[] = {{2, 2, 1}};

  template <class F>
  FUSED_RNN_HD static F reset(F& r, F h_prev) {
    r = gate_(r);
    return r * h_prev;
  }
  template <class F>
  FUSED_RNN_HD static void forward(F (&s)[kBlocks], F h_prev, F, F& h, F&) {
    F &z = s[1], &n = s[2];
    z = gate_(z);
    n = tanh_(n);
    h = n + z * (h_prev - n);
  }

  template <class F>
  FUSED_RNN_HD static void backward(F (&s)[kBlocks], F h_prev, F, F dh, F, F& dh_prev, F&) {
    const F z = s[1], n = s[2];
    s[1] = dh * (h_prev - n) * z * (1.0f - z);
    s[2] = dh * (1.0f - z) * (1.0f - n * n);
    dh_prev = dh * z;
  }
  template <class F>
  FUSED_RNN_HD static void reset_backward(F& r, F h_prev, F d, F& dh_prev) {
    dh_prev += d * r;
    r = d * h_prev * r * (1.0f - r);
  }
};

#if defined(FUSED_RNN_ISA)
}  // namespace FUSED_RNN_ISA
#endif
}  // namespace fused_rnn
