#include "cpu/one_hot_rows.h"

#include "cpu/rnn_parts.h"
#include "cpu/tile.h"

FUSED_RNN_KERNELS_BEGIN
namespace {

// With so many rows most columns are wanted, and a transposed copy of all is faster than walking
// down the columns of each.
bool worth_a_table(int64_t rows, int64_t classes) { return rows * 4 >= classes && rows >= 32; }

constexpr int64_t kUnit = 16;  // columns of a cache line
int64_t grain(int64_t n, int64_t work) { return (int64_t{1} << 15) / (work * kUnit + n) + 1; }

}  // namespace

void look_up_columns(const float* w, int64_t n, int64_t classes, const int32_t* index, int64_t rows,
                     const float* start, float* c, int64_t ldc, Context& context) {
  const bool table_first = worth_a_table(rows, classes);
  Scratch table(table_first ? classes * n : 1);
  const int64_t work = rows + (table_first ? classes : 0);
  context.pool.parallel_for((n + kUnit - 1) / kUnit, grain(n, work), [&](int64_t a, int64_t b) {
    const int64_t from = a * kUnit, to = std::min(b * kUnit, n);
    if (!table_first) {
      for (int64_t row = 0; row < rows; ++row) {
        for (int64_t j = from; j < to; ++j) {
          c[row * ldc + j] = start[j] + w[j * classes + index[row]];
        }
      }
      return;
    }
    transpose(w + from * classes, to - from, classes, classes, table.data() + from, n);
    for (int64_t row = 0; row < rows; ++row) {
      const float* entry = table.data() + index[row] * n;
      for (int64_t j = from; j < to; ++j) c[row * ldc + j] = start[j] + entry[j];
    }
  });
}

void sum_into_columns(const float* dc, int64_t ld, int64_t n, int64_t classes, const int32_t* index,
                      int64_t rows, float* dw, Context& context) {
  const bool table_first = worth_a_table(rows, classes);
  Scratch table(table_first ? classes * n : 1);
  const int64_t work = rows + 2 * classes;
  context.pool.parallel_for((n + kUnit - 1) / kUnit, grain(n, work), [&](int64_t a, int64_t b) {
    const int64_t from = a * kUnit, to = std::min(b * kUnit, n);
    if (!table_first) {
      copy_or_zero(dw + from * classes, nullptr, (to - from) * classes);
      for (int64_t row = 0; row < rows; ++row) {
        for (int64_t j = from; j < to; ++j) dw[j * classes + index[row]] += dc[row * ld + j];
      }
      return;
    }
    for (int64_t k = 0; k < classes; ++k) {
      copy_or_zero(table.data() + k * n + from, nullptr, to - from);
    }
    for (int64_t row = 0; row < rows; ++row) {
      float* entry = table.data() + index[row] * n;
      const float* add = dc + row * ld;
      for (int64_t j = from; j < to; ++j) entry[j] += add[j];
    }
    transpose(table.data() + from, classes, to - from, n, dw + from * classes, classes);
  });
}

FUSED_RNN_KERNELS_END
