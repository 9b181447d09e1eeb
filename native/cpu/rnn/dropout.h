// Dropout between the layers of a recurrent call. Both passes draw the same mask.
#pragma once

#include "core/random.h"
#include "cpu/isa.h"

FUSED_RNN_KERNELS_BEGIN

// Scales what dropout keeps of layer `layer`'s output, or of its gradient, and zeroes the rest.
inline void apply_dropout(float* x, int64_t n, const RnnDropout& dropout, int64_t layer,
                          Context& context) {
  if (dropout.p <= 0) return;
  const float scale = dropout.p < 1 ? 1 / (1 - dropout.p) : 0.0f;
  const float p = dropout.p;
  const uint64_t base = static_cast<uint64_t>(layer) << 40;
  context.pool.parallel_for((n + 3) / 4, 1 << 12, [&](int64_t begin, int64_t end) {
    for (int64_t block = begin; block < end; ++block) {
      const RandomBlock random = philox(dropout.seed, dropout.counter, base + block);
      const int64_t count = n - block * 4 < 4 ? n - block * 4 : 4;
      for (int64_t i = 0; i < count; ++i) {
        x[block * 4 + i] *= uniform(random.x[i]) >= p ? scale : 0.0f;
      }
    }
  });
}

FUSED_RNN_KERNELS_END
