// Pieces that the forward and backward passes of a recurrent layer share.
#pragma once

#include "core/random.h"
#include "cpu/isa.h"
#include "cpu/vector.h"

FUSED_RNN_KERNELS_BEGIN

inline void copy_floats(float* to, const float* from, int64_t n) {
  for (int64_t i = 0; i < n; ++i) to[i] = from[i];
}

// Null means zeros.
inline void copy_or_zero(float* to, const float* from, int64_t n) {
  if (from != nullptr) {
    copy_floats(to, from, n);
  } else {
    for (int64_t i = 0; i < n; ++i) to[i] = 0;
  }
}

// f(j, read, write) for every register's worth of [0, count), the last one perhaps in part.
template <class F>
void each_vector(int64_t count, F f) {
  int64_t j = 0;
  for (; j + kLanes <= count; j += kLanes) f(j, load, store);
  if (j == count) return;
  const int64_t rest = count - j;
  f(
      j, [rest](const float* p) { return load_part(p, rest); },
      [rest](float* p, Vec v) { store_part(p, v, rest); });
}

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
