// The products of one-hot rows, as the lookups and sums of columns that they are.
#pragma once

#include "core/context.h"
#include "cpu/isa.h"

FUSED_RNN_KERNELS_BEGIN

// start + W x for one-hot x: a column of W each.
//   w [n, classes]   start [n]
class OneHotProduct {
 public:
  // For `rows` lookups. With many of them a transposed copy of W is made, over the pool.
  OneHotProduct(const float* w, int64_t n, int64_t classes, const float* start, int64_t rows,
                Context& context);

  // out = elements [from, from + count) of the product with the one-hot row of `index`.
  void write(int32_t index, int64_t from, int64_t count, float* out) const;

 private:
  const float* w_;
  int64_t classes_;
  const float* start_;
  int64_t width_;  // of the table; 0: none
  Scratch table_;
};

// dw[:, k] = sum of dc[row, :] over index[row] = k, in the order of the rows.
//   dc [rows, n], ld elements per row   dw [n, classes]
void sum_into_columns(const float* dc, int64_t ld, int64_t n, int64_t classes, const int32_t* index,
                      int64_t rows, float* dw, Context& context);

FUSED_RNN_KERNELS_END
