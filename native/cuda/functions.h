// The functions of ops/functions.def for a GPU: CUDA's own, under the names of cpu/functions.h.
#pragma once

#include "cells/math.h"

namespace fused_rnn::cuda {

__device__ inline float exp2_(float x) { return exp2f(x); }
__device__ inline float expm1_(float x) { return expm1f(x); }
__device__ inline float log2_(float x) { return log2f(x); }
__device__ inline float log10_(float x) { return log10f(x); }
__device__ inline float log1p_(float x) { return log1pf(x); }
__device__ inline float sin_(float x) { return sinf(x); }
__device__ inline float cos_(float x) { return cosf(x); }
__device__ inline float tan_(float x) { return tanf(x); }
__device__ inline float asin_(float x) { return asinf(x); }
__device__ inline float acos_(float x) { return acosf(x); }
__device__ inline float atan_(float x) { return atanf(x); }
__device__ inline float sinh_(float x) { return sinhf(x); }
__device__ inline float cosh_(float x) { return coshf(x); }
__device__ inline float erf_(float x) { return erff(x); }
// (1 + erf(x / sqrt(2))) / 2, without its loss of digits.
__device__ inline float normal_cdf_(float x) { return 0.5f * erfcf(x * -0.70710678f); }
// log(1 + e^x)
__device__ inline float softplus_(float x) { return fmaxf(x, 0) + log1pf(expf(x < 0 ? x : -x)); }

}  // namespace fused_rnn::cuda
