// The simple recurrent network (Elman 1990), torch.nn.RNN: h = tanh(.) or relu(.)
#pragma once

#include "cells/cell.h"

namespace fused_rnn {
#if defined(FUSED_RNN_ISA)
namespace FUSED_RNN_ISA {
#endif

struct ElmanCell {
  static constexpr int kGates = 1;
  static constexpr int kBlocks = 1;
  static constexpr int kInputBlock = 0;
  static constexpr bool kHasC = false;
  static constexpr bool kDirectH = false;
  static constexpr HiddenRun kHiddenRuns[] = {{0, 0, 1}};
};

struct RnnTanhCell : ElmanCell {
  FUSED_RNN_HD static void forward(float (&s)[1], float, float, float& h, float&) {
    h = s[0] = tanh_(s[0]);
  }
  FUSED_RNN_HD static void backward(float (&s)[1], float, float, float dh, float, float&, float&) {
    s[0] = dh * (1 - s[0] * s[0]);
  }
};

struct RnnReluCell : ElmanCell {
  FUSED_RNN_HD static void forward(float (&s)[1], float, float, float& h, float&) {
    h = s[0] = s[0] < 0 ? 0.0f : s[0];
  }
  FUSED_RNN_HD static void backward(float (&s)[1], float, float, float dh, float, float&, float&) {
    s[0] = s[0] <= 0 ? 0.0f : dh;  // a NaN lets the gradient through
  }
};

#if defined(FUSED_RNN_ISA)
}  // namespace FUSED_RNN_ISA
#endif
}  // namespace fused_rnn
