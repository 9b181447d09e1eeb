// Sums that other kernels need.
#pragma once

#include "cpu/isa.h"

FUSED_RNN_KERNELS_BEGIN

// out[c] = scale * sum over r of in[r, c]; the same bits for any number of threads.
void column_sum(const float* in, int64_t rows, int64_t columns, float scale, float* out,
                Context& context);

FUSED_RNN_KERNELS_END
