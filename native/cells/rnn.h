// The simple recurrent network (Elman 1990), torch.nn.RNN: h = tanh(.) or relu(.)
#pragma once

#include "cells/cell.h"

namespace fused_rnn {
#if defined(FUSED_RNN_ISA)
namespace FUSED_RNN_ISA {
#endif

struct ElmanCell : PlainCell {
  static constexpr int kGates = 1;
  static constexpr int kBlocks = 1;
  static constexpr int kInputBlock = 0;
  static constexpr bool kHasC = false;
  static constexpr bool kDirectH = false;
  static constexpr HiddenRun kHiddenRuns[] = {{0, 0, 1}};
};

struct RnnTanhCell : ElmanCell {
  template <class F>
  FUSED_RNN_HD static void forward(F (&s)[kBlocks], F, F, F& h, F&) {
    h = s[0] = tanh_(s[0]);
  }
  template <class F>
  FUSED_RNN_HD static void backward(F (&s)[kBlocks], F, F, F dh, F, F&, F&) {
    s[0] = dh * (1.0f - s[0] * s[0]);
  }
};

struct RnnReluCell : ElmanCell {
  template <class F>
  FUSED_RNN_HD static void forward(F (&s)[kBlocks], F, F, F& h, F&) {
    h = s[0] = s[0] < 0 ? F{} : s[0];
  }
  template <class F>
  FUSED_RNN_HD static void backward(F (&s)[kBlocks], F, F, F dh, F, F&, F&) {
    s[0] = s[0] <= 0 ? F{} : dh;  // a NaN lets the gradient through
  }
};

#if defined(FUSED_RNN_ISA)
}  // namespace FUSED_RNN_ISA
#endif
}  // namespace fused_rnn
