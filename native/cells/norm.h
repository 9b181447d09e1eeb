// Layer normalisation of a row, without its gain and shift: (x - mean) scale.
#pragma once

#include "core/random.h"  // FUSED_RNN_HD

namespace fused_rnn {
#if defined(FUSED_RNN_ISA)
namespace FUSED_RNN_ISA {
#endif

// What is added to the variance, as torch.nn.LayerNorm does.
constexpr float kNormEpsilon = 1e-5f;

struct Moments {
  float mean;
  float scale;  // 1 / sqrt(variance + kNormEpsilon)

  template <class F>
  FUSED_RNN_HD F normalise(F x) const {
    return (x - mean) * scale;
  }
  // The gradient of x from that of the normalised, `dy`; both means are over the row.
  template <class F>
  FUSED_RNN_HD F backward(F dy, F y, float mean_dy, float mean_dy_y) const {
    return (dy - mean_dy - y * mean_dy_y) * scale;
  }
};

// Of one row: what a cell with norms saves.
struct RowMoments {
  Moments hidden;  // of W_hh h(t-1)
  Moments input;   // of W_ih x
  Moments c;
};
constexpr int kRowMoments = sizeof(RowMoments) / sizeof(float);

#if defined(FUSED_RNN_ISA)
}  // namespace FUSED_RNN_ISA
#endif
}  // namespace fused_rnn
