// What the expressions of functions.def use beside the backends' functions.
//
// Included inside the namespace of an instruction set, as cells/math.h.
#pragma once

#include <math.h>

#include "core/random.h"  // FUSED_RNN_HD

namespace fused_rnn {
#if defined(FUSED_RNN_ISA)
namespace FUSED_RNN_ISA {
#endif

// In this form NaN stays NaN.
template <class T>
FUSED_RNN_HD inline T clamp_(T x, T low, T high) {
  x = x < low ? low : x;
  return x > high ? high : x;
}

// With the sign of b, as Python's.
FUSED_RNN_HD inline float remainder_(float a, float b) {
  const float rest = fmodf(a, b);
  return rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
}

// t: the tangent in the value. Where it is flat, x * x may be infinite.
FUSED_RNN_HD inline float gelu_tanh_slope(float x, float t) {
  const float inner = 0.79788456f * (1 + 3 * 0.044715f * x * x), curve = 1 - t * t;
  const bool flat = curve == 0 && x - x == 0;
  return 0.5f * (1 + t) + (flat ? 0 : 0.5f * x * curve * inner);
}
// s: sigmoid(x)
FUSED_RNN_HD inline float silu_slope(float x, float s) { return s * (1 + x * (1 - s)); }
// t: tanh(softplus(x)), s: sigmoid(x)
FUSED_RNN_HD inline float mish_slope(float x, float t, float s) { return t + x * s * (1 - t * t); }

#if defined(FUSED_RNN_ISA)
}  // namespace FUSED_RNN_ISA
#endif
}  // namespace fused_rnn
