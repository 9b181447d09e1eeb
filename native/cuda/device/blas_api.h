// What is used of cuBLAS, declared here so that building needs no cuBLAS: it is opened at run time.
// scripts/check-cuda.sh compares the numbers with cuBLAS's own headers.
#pragma once

#include <cstddef>
#include <string>

#include "cuda/device/runtime.h"

struct cublasContext;

namespace fused_rnn::cuda {

using BlasHandle = cublasContext*;

// cublasOperation_t, cudaDataType, cublasComputeType_t, cublasGemmAlgo_t
enum BlasOperation : int { kBlasN = 0, kBlasT = 1 };
constexpr int kBlasFloat = 0;
enum BlasCompute : int { kBlasCompute32 = 68, kBlasComputeBf16 = 75, kBlasComputeTf32 = 77 };
constexpr int kBlasDefaultAlgorithm = -1;

// The functions by their exported names, each returning a cublasStatus_t.
struct BlasApi {
  int (*cublasCreate_v2)(BlasHandle*);
  int (*cublasDestroy_v2)(BlasHandle);
  int (*cublasSetStream_v2)(BlasHandle, cudaStream_t);
  int (*cublasSetWorkspace_v2)(BlasHandle, void*, size_t);
  int (*cublasGemmEx)(BlasHandle, int op_a, int op_b, int m, int n, int k, const void* alpha,
                      const void* a, int a_type, int lda, const void* b, int b_type, int ldb,
                      const void* beta, void* c, int c_type, int ldc, int compute, int algorithm);
  int (*cublasGemmStridedBatchedEx)(BlasHandle, int op_a, int op_b, int m, int n, int k,
                                    const void* alpha, const void* a, int a_type, int lda,
                                    long long stride_a, const void* b, int b_type, int ldb,
                                    long long stride_b, const void* beta, void* c, int c_type,
                                    int ldc, long long stride_c, int count, int compute,
                                    int algorithm);
  const char* (*cublasGetStatusString)(int);
};

// Null when cuBLAS is not there; then `why` says what was looked for. Thread-safe.
const BlasApi* blas_api(std::string& why);

}  // namespace fused_rnn::cuda
