#include "cpu/one_hot_rows.h"

#include "cpu/tile.h"
#include "cpu/transpose.h"
#include "cpu/vector.h"

FUSED_RNN_KERNELS_BEGIN
namespace {

// From this many rows on most columns are wanted, and a transposed copy of all is faster than
// walking down the columns of each.
bool worth_a_table(int64_t rows, int64_t classes) { return rows * 4 >= classes && rows >= 32; }

constexpr int64_t kUnit = 16;  // columns of a cache line

// Of sums that stay in the second-level cache.
constexpr int64_t kTableFloats = int64_t{1} << 16;

// Elements per row of the table: an odd number of lines, so that its rows spread over the cache.
int64_t table_width(int64_t n) { return round_up(n, 2 * kUnit) + kUnit; }
int64_t grain(int64_t n, int64_t work) { return (int64_t{1} << 15) / (work * kUnit + n) + 1; }

}  // namespace

OneHotProduct::OneHotProduct(const float* w, int64_t n, int64_t classes, const float* start,
                             int64_t rows, Context& context)
    : w_(w),
      classes_(classes),
      start_(start),
      width_(worth_a_table(rows, classes) ? table_width(n) : 0),
      table_(classes * width_ + 1) {
  if (width_ == 0) return;
  context.pool.parallel_for(
      (n + kUnit - 1) / kUnit, grain(n, classes), [&](int64_t begin, int64_t end) {
        const int64_t from = begin * kUnit, to = std::min(end * kUnit, n);
        transpose(w + from * classes, to - from, classes, classes, table_.data() + from, width_);
      });
}

void OneHotProduct::write(int32_t index, int64_t from, int64_t count, float* out) const {
  const float* start = start_ + from;
  if (width_ == 0) {
    const float* column = w_ + from * classes_ + index;
    for (int64_t j = 0; j < count; ++j) out[j] = start[j] + column[j * classes_];
    return;
  }
  const float* row = table_.data() + index * width_ + from;
  for (int64_t j = 0; j < count; ++j) out[j] = start[j] + row[j];
}

void sum_into_columns(const float* dc, int64_t ld, int64_t n, int64_t classes, const int32_t* index,
                      int64_t rows, float* dw, Context& context) {
  const bool table_first = worth_a_table(rows, classes);
  const int64_t work = rows + 2 * classes;
  context.pool.parallel_for((n + kUnit - 1) / kUnit, grain(n, work), [&](int64_t a, int64_t b) {
    const int64_t begin = a * kUnit, end = std::min(b * kUnit, n);
    if (!table_first) {
      copy_or_zero(dw + begin * classes, nullptr, (end - begin) * classes);
      for (int64_t row = 0; row < rows; ++row) {
        for (int64_t j = begin; j < end; ++j) dw[j * classes + index[row]] += dc[row * ld + j];
      }
      return;
    }
    // Transposed first, so many of the columns of dc at a time that their sums stay in the cache.
    const int64_t width =
        std::clamp(kTableFloats / classes / kUnit, int64_t{1}, int64_t{8}) * kUnit;
    Scratch table(classes * width);
    for (int64_t from = begin; from < end; from += width) {
      const int64_t count = std::min(width, end - from);
      copy_or_zero(table.data(), nullptr, classes * width);
      for (int64_t row = 0; row < rows; ++row) {
        float* entry = table.data() + index[row] * width;
        const float* add = dc + row * ld + from;
        for (int64_t j = 0; j < count; ++j) entry[j] += add[j];
      }
      transpose(table.data(), classes, count, width, dw + from * classes, classes);
    }
  });
}

FUSED_RNN_KERNELS_END
