// Matrix products: OpenBLAS, called from each of our threads for a part of the product, so that one
// pool decides who computes what. The library itself is held to one thread a call; it has to be a
// build with locks (Debian's pthread build), for the serial one shares its work buffers unguarded.
#pragma once

#include <cstdint>

#include "core/context.h"

namespace fused_rnn {

enum class Trans : bool { no, yes };

// C[M,N] = alpha * op(A)[M,K] * op(B)[K,N] + beta * C; row-major, lda/ldb/ldc elements per row.
struct Gemm {
  Trans trans_a = Trans::no;
  Trans trans_b = Trans::no;
  int64_t m, n, k;
  const float* a;
  int64_t lda;
  const float* b;
  int64_t ldb;
  float* c;
  int64_t ldc;
  float alpha = 1;
  float beta = 0;  // 0: what C held does not matter
};

// On the calling thread.
void gemm(const Gemm& g);
// Over the pool.
void gemm(const Gemm& g, Context& context);

}  // namespace fused_rnn
