// Sums and other reductions.
#include "cpu/reduce.h"

FUSED_RNN_KERNELS_BEGIN

namespace {

constexpr int64_t kColumns = 256;  // of one tile: its sums stay in the first-level cache
constexpr int64_t kRows = 64;      // summed on their own first, so that rounding grows slowly

void sum_tile(const float* in, int64_t rows, int64_t stride, int64_t columns, float scale,
              float* out) {
  float total[kColumns] = {};
  float part[kColumns];
  for (int64_t begin = 0; begin < rows; begin += kRows) {
    const int64_t end = begin + kRows < rows ? begin + kRows : rows;
    for (int64_t c = 0; c < columns; ++c) part[c] = 0;
    for (int64_t r = begin; r < end; ++r) {
      const float* row = in + r * stride;
      for (int64_t c = 0; c < columns; ++c) part[c] += row[c];
    }
    for (int64_t c = 0; c < columns; ++c) total[c] += part[c];
  }
  for (int64_t c = 0; c < columns; ++c) out[c] = scale * total[c];
}

}  // namespace

void column_sum(const float* in, int64_t rows, int64_t columns, float scale, float* out,
                Context& context) {
  const int64_t tiles = (columns + kColumns - 1) / kColumns;
  const int64_t tile_size = rows * kColumns;
  context.pool.parallel_for(
      tiles, (1 << 15) / (tile_size + 1) + 1, [&](int64_t begin, int64_t end) {
        for (int64_t tile = begin; tile < end; ++tile) {
          const int64_t from = tile * kColumns;
          const int64_t count = from + kColumns < columns ? kColumns : columns - from;
          sum_tile(in + from, rows, columns, count, scale, out + from);
        }
      });
}

FUSED_RNN_KERNELS_END
