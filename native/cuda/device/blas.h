// Products by cuBLAS, which is opened at run time (blas_load.cpp; native/cuda_host has one of its
// own), in the row-major terms of the rest of the library.
#pragma once

#include <cstdint>
#include <memory>

#include "cuda/device/runtime.h"
#include "ops/cuda.h"

namespace fused_rnn::cuda {

// c[M,N] = alpha * op(a)[M,K] * op(b)[K,N] + beta * c; row-major, lda/ldb/ldc elements per row.
struct Product {
  bool trans_a = false;
  bool trans_b = false;
  int64_t m, n, k;
  const float* a;
  int64_t lda;
  const float* b;
  int64_t ldb;
  float* c;
  int64_t ldc;
  float alpha = 1;
  float beta = 0;
  // A batch of products whose arrays lie these numbers of elements apart; 0: all share a, or b.
  int64_t count = 1;
  int64_t stride_a = 0, stride_b = 0, stride_c = 0;
};

class Blas {
 public:
  // With a handle and a workspace of its own. Throws std::runtime_error when cuBLAS is not there.
  Blas();
  ~Blas();
  Blas(const Blas&) = delete;
  Blas& operator=(const Blas&) = delete;

  // Nothing when m, n or count is 0; k = 0 leaves beta * c, where beta is 0 or 1. Deterministic.
  // May be captured.
  void multiply(const Product& product, Fp32Precision precision, cudaStream_t stream);

  // Why cuBLAS cannot be used; empty when it can.
  static std::string missing();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace fused_rnn::cuda
