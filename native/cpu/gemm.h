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
  // Factors rounded to bfloat16, where no side is so short that nothing is gained. Then the bits do
  // not depend on the number of threads at all.
  bool bf16 = false;
};

// On the calling thread.
void gemm(const Gemm& g);
// Over the pool.
void gemm(const Gemm& g, Context& context);

// The part of C with rows [m0, m1) and columns [n0, n1), of rounded factors.
void gemm_bf16(const Gemm& g, int64_t m0, int64_t m1, int64_t n0, int64_t n1);

FUSED_RNN_KERNELS_END
