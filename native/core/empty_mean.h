// The mean over nothing, as a loss whose targets are all ignored is one: NaN, as in PyTorch, with
// bits of its own, which tell it from the NaN of a calculation that went wrong (as R's NA is told
// from its NaN). ts/train/meter.ts knows them, too.
//
// Included inside the namespace of an instruction set, as cells/math.h.
#pragma once

#include <cstdint>
#include <cstring>

#include "core/random.h"  // FUSED_RNN_HD

namespace fused_rnn {
#if defined(FUSED_RNN_ISA)
namespace FUSED_RNN_ISA {
#endif

constexpr uint32_t kEmptyMeanBits = 0x7fc0e317;

FUSED_RNN_HD inline float empty_mean() {
  const uint32_t bits = kEmptyMeanBits;
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

FUSED_RNN_HD inline bool is_empty_mean(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return (bits & 0x7fffffffu) == kEmptyMeanBits;
}

// A sum as a mean.
FUSED_RNN_HD inline float mean_of(double sum, double count) {
  return count == 0 ? empty_mean() : static_cast<float>(sum / count);
}

#if defined(FUSED_RNN_ISA)
}  // namespace FUSED_RNN_ISA
#endif
}  // namespace fused_rnn
