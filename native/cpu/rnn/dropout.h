// Dropout between the layers of a recurrent call. Both passes draw the same mask.
#pragma once

#include "cpu/random.h"

FUSED_RNN_KERNELS_BEGIN

// Scales what dropout keeps of layer `layer`'s output, or of its gradient, and zeroes the rest.
inline void apply_dropout(float* x, int64_t n, const RnnDropout& dropout, int64_t layer,
                          Context& context) {
  if (dropout.p <= 0) return;
  const float scale = dropout.p < 1 ? 1 / (1 - dropout.p) : 0.0f;
  const uint64_t first = static_cast<uint64_t>(layer) << 40;
  each_random(context, n, dropout.seed, dropout.counter, first,
              [=, p = dropout.p](int64_t from, int64_t count, const uint32_t* bits) {
                float* const to = x + from;
                for (int64_t i = 0; i < count; ++i) to[i] *= uniform(bits[i]) >= p ? scale : 0.0f;
              });
}

FUSED_RNN_KERNELS_END
