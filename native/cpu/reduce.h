// Sums and largest values that several kernels need. All of them give the same bits for any number
// of threads, and sums for any width of the registers but for how products are rounded.
#pragma once

#include <math.h>

#include <cstdint>

#include "cpu/isa.h"
#include "cpu/vector.h"

FUSED_RNN_KERNELS_BEGIN

namespace {

// Side by side, so that no addition waits for the one before it.
constexpr int kSums = 64;
constexpr int kSumVectors = kSums / kLanes;

// Where a formula over rows of floats reads and writes: neighbours from `i` on, a register's worth
// or the first n of one.
struct Lanes {
  int64_t i;
  Vec operator()(const float* row) const { return load(row + i); }
  void operator()(float* row, Vec v) const { store(row + i, v); }
};
struct FirstLanes {
  int64_t i, n;
  Vec operator()(const float* row) const { return load_part(row + i, n); }
  void operator()(float* row, Vec v) const { store_part(row + i, v, n); }
};

// f(at) for all of [0, n), from the left to the right.
template <class F>
void each_lanes(int64_t n, F f) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) f(Lanes{i});
  if (i < n) f(FirstLanes{i, n - i});
}

// The largest of n numbers; NaNs are passed over, -infinity if there is nothing else.
[[maybe_unused]] float max_of(const float* x, int64_t n) {
  const Vec least = Vec{} - INFINITY;
  Vec most[4] = {least, least, least, least};
  int64_t i = 0;
  for (; i + 4 * kLanes <= n; i += 4 * kLanes) {
    for (int j = 0; j < 4; ++j) {
      const Vec v = load(x + i + j * kLanes);
      most[j] = v > most[j] ? v : most[j];
    }
  }
  for (; i + kLanes <= n; i += kLanes) {
    const Vec v = load(x + i);
    most[0] = v > most[0] ? v : most[0];
  }
  if (i < n) {
    const Vec v = load_part(x + i, n - i, least);
    most[1] = v > most[1] ? v : most[1];
  }
  for (int j = 1; j < 4; ++j) most[0] = most[j] > most[0] ? most[j] : most[0];
  return max_lanes(most[0]);
}

// All lanes of all sums, by halves.
inline float total_of(Vec* sums) {
  for (int half = kSumVectors / 2; half > 0; half /= 2) {
    for (int j = 0; j < half; ++j) sums[j] += sums[j + half];
  }
  return sum_lanes(sums[0]);
}

// Adds f(at) up over [0, n): floats within a lane of a block, doubles beyond. f may write as well.
template <class F>
double sum_over(int64_t n, F f) {
  constexpr int64_t kBlock = 32 * kSums;
  double total = 0;
  for (int64_t from = 0; from < n; from += kBlock) {
    const int64_t end = n - from < kBlock ? n : from + kBlock;
    Vec sums[kSumVectors] = {};
    int64_t i = from;
    for (; i + kSums <= end; i += kSums) {
      for (int j = 0; j < kSumVectors; ++j) sums[j] += f(Lanes{i + j * kLanes});
    }
    for (int j = 0; i < end; ++j, i += kLanes) {
      if (i + kLanes <= end) {
        sums[j] += f(Lanes{i});
        continue;
      }
      float rest[kLanes] = {};
      store_part(rest, f(FirstLanes{i, end - i}), end - i);
      sums[j] += load(rest);
    }
    total += total_of(sums);
  }
  return total;
}

// Adds x up.
[[maybe_unused]] double sum_of(const float* x, int64_t n) {
  return sum_over(n, [=](auto at) { return at(x); });
}

}  // namespace

// out[o, c] = scale * sum over r of in[o, r, c]; ld elements from row to row.
void column_sum(const float* in, int64_t outer, int64_t rows, int64_t columns, int64_t ld,
                float scale, float* out, Context& context);

FUSED_RNN_KERNELS_END
