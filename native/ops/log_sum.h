// Sums of numbers whose logarithms are given.
//
// Included inside the namespace of an instruction set, as cells/math.h.
#pragma once

#include "cells/math.h"

namespace fused_rnn {
#if defined(FUSED_RNN_ISA)
namespace FUSED_RNN_ISA {
#endif

// log(exp(a) + exp(b) + exp(c)); -infinity of nothing but that.
FUSED_RNN_HD inline float log_sum(float a, float b, float c) {
  float m = a > b ? a : b;
  m = m > c ? m : c;
  m = m > -detail::kInfinity ? m : 0.0f;
  return log_(exp_(a - m) + exp_(b - m) + exp_(c - m)) + m;
}
FUSED_RNN_HD inline float log_sum(float a, float b) {
  float m = a > b ? a : b;
  m = m > -detail::kInfinity ? m : 0.0f;
  return log_(exp_(a - m) + exp_(b - m)) + m;
}

// What part of a sum exp(whole) is its summand exp(part); of nothing 0.
FUSED_RNN_HD inline float share_of(float part, float whole) {
  return exp_(part - (whole > -detail::kInfinity ? whole : detail::kInfinity));
}

#if defined(FUSED_RNN_ISA)
}  // namespace FUSED_RNN_ISA
#endif
}  // namespace fused_rnn
