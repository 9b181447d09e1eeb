// The products of one-hot rows, as the lookups and sums of columns that they are.
#pragma once

#include "cpu/isa.h"

FUSED_RNN_KERNELS_BEGIN

// c[row, :] = start + w[:, index[row]]: W^T's rows. `start` is [n].
//   w [n, classes]   index [rows]   c [rows, n], ldc elements per row
void look_up_columns(const float* w, int64_t n, int64_t classes, const int32_t* index, int64_t rows,
                     const float* start, float* c, int64_t ldc, Context& context);

// dw[:, k] = sum of dc[row, :] over index[row] = k, in the order of the rows.
//   dc [rows, n], ld elements per row   dw [n, classes]
void sum_into_columns(const float* dc, int64_t ld, int64_t n, int64_t classes, const int32_t* index,
                      int64_t rows, float* dw, Context& context);

FUSED_RNN_KERNELS_END
