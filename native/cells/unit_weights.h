// The weights that units have for themselves, in the order in which cells get them.
#pragma once

#include "cells/cell.h"
#include "ops/ops.h"

namespace fused_rnn {
#if defined(FUSED_RNN_ISA)
namespace FUSED_RNN_ISA {
#endif

inline UnitWeights unit_weights(const RnnWeights& w) { return {{w.w_ci, w.w_cf, w.w_co}}; }

// Where their gradients go, [H] each; null: not wanted.
struct UnitWeightGrads {
  float* of[kMostUnitWeights];
};
inline UnitWeightGrads unit_weight_grads(const RnnWeightGrads& g) {
  return {{g.dw_ci, g.dw_cf, g.dw_co}};
}

#if defined(FUSED_RNN_ISA)
}  // namespace FUSED_RNN_ISA
#endif
}  // namespace fused_rnn
