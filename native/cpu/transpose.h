// The transpose of a matrix, for packing and for tables of columns.
#pragma once

#include <cstdint>

#include "cpu/isa.h"

FUSED_RNN_KERNELS_BEGIN

// out[i * out_ld + j] = in[j * in_ld + i] for [rows, columns] elements of `in`.
void transpose(const float* in, int64_t rows, int64_t columns, int64_t in_ld, float* out,
               int64_t out_ld);

FUSED_RNN_KERNELS_END
