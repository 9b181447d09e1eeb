// The products of int8 weights as layers need them.
#pragma once

#include <algorithm>

#include "cpu/int8/kernels.h"
#include "cpu/vector.h"

FUSED_RNN_KERNELS_BEGIN

// Rows quantised for a product, in memory of their own.
class QuantizedRows {
 public:
  // For up to so many rows of k values; none: not used.
  QuantizedRows(int64_t rows, int64_t k)
      : ld_(row_bytes(k)), rows_(rows), memory_(std::max<int64_t>(rows * (ld_ / 4 + 2), 1)) {}

  // Rows [first, first + count) of this, from `from`.
  void fill(int64_t first, int64_t count, int64_t k, const float* from, int64_t ld) const {
    int8_kernels().quantize_rows(count, k, from, ld,
                                 {q() + first * ld_, ld_, scales() + first, zeros() + first});
  }
  Int8Rows rows(int64_t first = 0) const {
    return {q() + first * ld_, ld_, scales() + first, zeros() + first};
  }

 private:
  // Rows a multiple of 1 KiB apart would share few places of the nearest cache.
  static int64_t row_bytes(int64_t k) {
    const int64_t bytes = round_up(int8_quads(k) * 4, 64);
    return bytes % 1024 == 0 ? bytes + 64 : bytes;
  }
  uint8_t* q() const { return reinterpret_cast<uint8_t*>(memory_.data()); }
  float* scales() const { return memory_.data() + rows_ * (ld_ / 4); }
  int32_t* zeros() const { return reinterpret_cast<int32_t*>(scales() + rows_); }

  int64_t ld_, rows_;
  Scratch memory_;
};

// Weights [groups * n, k].
struct Int8Weights {
  Int8Matrix matrix;
  int64_t n, k;

  // C[m, count] = start + A * W^T of rows [first, first + count) of a group; `first` begins a panel.
  void multiply(int64_t group, int64_t first, int64_t count, int64_t m, const Int8Rows& a, float* c,
                int64_t ldc, const float* start, int64_t start_ld) const {
    const int64_t panel = group * int8_panels(n) + first / kInt8Rows;
    const Int8Matrix part{matrix.words + panel * int8_panel_words(k),
                          matrix.scales + group * n + first};
    int8_kernels().multiply(part, k, m, count, a, c, ldc, start, start_ld);
  }
};

// C[m, groups * n] = start + A[m, k] * W^T over the pool; start: a row or null.
inline void multiply_int8(const Int8Weights& w, int64_t groups, int64_t m, const float* a, float* c,
                          int64_t ldc, const float* start, Context& context) {
  if (m == 0) return;
  // A's rows of a block stay in the second-level cache, and a part of W in the first.
  constexpr int64_t kRowBytes = int64_t{128} << 10, kColumns = 64;
  const int64_t k = w.k, block = std::clamp<int64_t>(kRowBytes / (k + 1), 6, 512);
  const QuantizedRows rows(m, k);
  context.pool.parallel_for(m, (1 << 16) / (k + 1) + 1, [&](int64_t begin, int64_t end) {
    rows.fill(begin, end - begin, k, a + begin * k, k);
  });
  const int64_t blocks = (m + block - 1) / block, parts = (w.n + kColumns - 1) / kColumns;
  const int64_t work = std::min(block, m) * std::min(w.n, kColumns) * k;
  context.pool.parallel_for(
      blocks * groups * parts, (int64_t{1} << 19) / (work + 1) + 1,
      [&](int64_t begin, int64_t end) {
        for (int64_t task = begin; task < end; ++task) {
          const int64_t row = task / (groups * parts) * block, rest = task % (groups * parts);
          const int64_t group = rest / parts, first = rest % parts * kColumns;
          const int64_t column = group * w.n + first;
          w.multiply(group, first, std::min(kColumns, w.n - first), std::min(block, m - row),
                     rows.rows(row), c + row * ldc + column, ldc,
                     start != nullptr ? start + column : nullptr, 0);
        }
      });
}

FUSED_RNN_KERNELS_END
