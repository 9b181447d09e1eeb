// GRU (Cho et al. 2014) in torch.nn.GRU's form, with the reset gate behind the recurrent product:
//   r, z = sigmoid(.)   q = W_hn h(t-1) + b_hn   n = tanh(W_in x + b_in + r q)
//   h = (1 - z) n + z h(t-1)
#pragma once

#include "cells/cell.h"

namespace fused_rnn {
#if defined(FUSED_RNN_ISA)
namespace FUSED_RNN_ISA {
#endif

struct GruCell : PlainCell {
  static constexpr int kGates = 3;
  // q, r, z, n: the recurrent product fills the first three, the input product the last three.
  static constexpr int kBlocks = 4;
  static constexpr int kInputBlock = 1;
  static constexpr bool kHasC = false;
  static constexpr bool kDirectH = true;
  // q += W_hn h; r, z += W_hr h, W_hz h.
  static constexpr HiddenRun kHiddenRuns[] = {{0, 2, 1}, {1, 0, 2}};

  template <class F>
  FUSED_RNN_HD static void forward(F (&s)[kBlocks], F h_prev, F, F& h, F&) {
    F &q = s[0], &r = s[1], &z = s[2], &n = s[3];
    r = gate_(r);
    z = gate_(z);
    n = tanh_(n + r * q);
    h = n + z * (h_prev - n);
  }

  template <class F>
  FUSED_RNN_HD static void backward(F (&s)[kBlocks], F h_prev, F, F dh, F, F& dh_prev, F&) {
    const F q = s[0], r = s[1], z = s[2], n = s[3];
    // Of the pre-activations.
    const F dn = dh * (1.0f - z) * (1.0f - n * n);
    const F dq = dn * r;
    const F dr = dn * q * r * (1.0f - r);
    const F dz = dh * (h_prev - n) * z * (1.0f - z);
    s[0] = dq, s[1] = dr, s[2] = dz, s[3] = dn;
    dh_prev = dh * z;
  }
};

#if defined(FUSED_RNN_ISA)
}  // namespace FUSED_RNN_ISA
#endif
}  // namespace fused_rnn
