// Sums and largest values that several kernels need. All of them give the same bits for any number
// of threads.
#pragma once

#include <math.h>

#include "cpu/isa.h"

FUSED_RNN_KERNELS_BEGIN

namespace {

// More than the compiler unrolls before it vectorises.
constexpr int kSums = 64;

// The largest of n numbers; NaNs are passed over, -infinity if there is nothing else.
[[maybe_unused]] float max_of(const float* x, int64_t n) {
  float lanes[kSums];
  for (int j = 0; j < kSums; ++j) lanes[j] = -INFINITY;
  int64_t i = 0;
  for (; i + kSums <= n; i += kSums) {
    for (int j = 0; j < kSums; ++j) lanes[j] = x[i + j] > lanes[j] ? x[i + j] : lanes[j];
  }
  float max = lanes[0];
  for (int j = 1; j < kSums; ++j) max = lanes[j] > max ? lanes[j] : max;
  for (; i < n; ++i) max = x[i] > max ? x[i] : max;
  return max;
}

// Adds f(i) up: floats within a lane of a block, doubles beyond.
template <class F>
double sum_over(int64_t n, F f) {
  constexpr int64_t kBlock = 16 * kSums;
  double total = 0;
  for (int64_t from = 0; from < n; from += kBlock) {
    const int64_t count = n - from < kBlock ? n - from : kBlock;
    float values[kBlock];
    for (int64_t i = 0; i < count; ++i) values[i] = f(from + i);
    float lanes[kSums] = {};
    int64_t i = 0;
    for (; i + kSums <= count; i += kSums) {
      for (int j = 0; j < kSums; ++j) lanes[j] += values[i + j];
    }
    for (int j = 0; j < kSums && i > 0; ++j) total += lanes[j];
    for (; i < count; ++i) total += values[i];
  }
  return total;
}

// Adds f(x[i]) up.
template <class F>
double sum_of(const float* x, int64_t n, F f) {
  return sum_over(n, [=](int64_t i) { return f(x[i]); });
}

}  // namespace

// out[o, c] = scale * sum over r of in[o, r, c]; ld elements from row to row.
void column_sum(const float* in, int64_t outer, int64_t rows, int64_t columns, int64_t ld,
                float scale, float* out, Context& context);

FUSED_RNN_KERNELS_END
