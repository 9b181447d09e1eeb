// Matrix products of any size, from the tiles of tile.h.
#pragma once

#include <cstdint>

#include "core/context.h"
#include "cpu/isa.h"

FUSED_RNN_KERNELS_BEGIN

enum class Trans : bool { no, yes };

// C[M,N] = start + op(A)[M,K] * op(B)[K,N]; row-major, lda/ldb/ldc elements per row.
//
// The bits do not depend on the number of threads, except where a part has fewer rows than a tile.
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
  const float* start = nullptr;  // null: zeros; C itself to add to it; a row of biases with ld 0
  int64_t start_ld = 0;
};

// On the calling thread.
void gemm(const Gemm& g);
// Over the pool.
void gemm(const Gemm& g, Context& context);

FUSED_RNN_KERNELS_END
