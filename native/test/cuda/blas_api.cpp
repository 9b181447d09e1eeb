// cuda/device/blas_api.h beside cuBLAS's own headers: the same numbers and the same functions.
// Compiled and linked by scripts/check-cuda.sh, where the headers are there; it need not run.
#include "cuda/device/blas_api.h"

#include <cublas_v2.h>

#include <type_traits>

namespace fused_rnn::cuda {
namespace {

// The unary plus makes a number of an enum.
static_assert(+kBlasN == +CUBLAS_OP_N && +kBlasT == +CUBLAS_OP_T);
static_assert(kBlasFloat == +CUDA_R_32F);
static_assert(+kBlasCompute32 == +CUBLAS_COMPUTE_32F);
static_assert(+kBlasComputeBf16 == +CUBLAS_COMPUTE_32F_FAST_16BF);
static_assert(+kBlasComputeTf32 == +CUBLAS_COMPUTE_32F_FAST_TF32);
static_assert(kBlasDefaultAlgorithm == +CUBLAS_GEMM_DEFAULT);
static_assert(CUBLAS_STATUS_SUCCESS == 0);

// An enum is passed as the int that blas_api.h says; everything else has to be the same type.
template <class Ours, class Theirs>
constexpr bool same() {
  if constexpr (std::is_enum_v<Theirs>) {
    return std::is_same_v<Ours, int> && sizeof(Theirs) == sizeof(int);
  } else {
    return std::is_same_v<Ours, Theirs>;
  }
}
template <class R, class... A, class S, class... B>
constexpr bool same_function(R (*)(A...), S (*)(B...)) {
  if constexpr (sizeof...(A) == sizeof...(B)) {
    return same<R, S>() && (same<A, B>() && ...);
  } else {
    return false;
  }
}

// Some of them are overloaded for C++; these are the ones that the library exports.
using GemmEx = cublasStatus_t (*)(cublasHandle_t, cublasOperation_t, cublasOperation_t, int, int,
                                  int, const void*, const void*, cudaDataType, int, const void*,
                                  cudaDataType, int, const void*, void*, cudaDataType, int,
                                  cublasComputeType_t, cublasGemmAlgo_t);
using GemmStridedBatchedEx = cublasStatus_t (*)(cublasHandle_t, cublasOperation_t,
                                                cublasOperation_t, int, int, int, const void*,
                                                const void*, cudaDataType, int, long long,
                                                const void*, cudaDataType, int, long long,
                                                const void*, void*, cudaDataType, int, long long,
                                                int, cublasComputeType_t, cublasGemmAlgo_t);

}  // namespace

// Taken by their exported names, so that linking finds each in the library.
#define CHECK(function, Type)                                                             \
  static_assert(same_function(decltype(BlasApi::function){}, static_cast<Type>(nullptr)), \
                #function);                                                               \
  extern const Type check_##function;                                                     \
  const Type check_##function = &::function;
CHECK(cublasCreate_v2, decltype(&::cublasCreate_v2))
CHECK(cublasDestroy_v2, decltype(&::cublasDestroy_v2))
CHECK(cublasSetStream_v2, decltype(&::cublasSetStream_v2))
CHECK(cublasSetWorkspace_v2, decltype(&::cublasSetWorkspace_v2))
CHECK(cublasGemmEx, GemmEx)
CHECK(cublasGemmStridedBatchedEx, GemmStridedBatchedEx)
CHECK(cublasGetStatusString, decltype(&::cublasGetStatusString))
#undef CHECK

}  // namespace fused_rnn::cuda
