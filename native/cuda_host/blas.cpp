// cuBLAS on the host: the few functions of native/cuda/device/blas_api.h, with plain loops.
#include <cstring>
#include <vector>

#include "cuda/device/blas_api.h"
#include "cuda_host/internal.h"

struct cublasContext {
  cudaStream_t stream = nullptr;
};

namespace fused_rnn::cuda {
namespace {

// To `kept` bits of the fraction, to the nearest, ties to even.
float rounded(float x, int kept) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  if ((bits & 0x7f800000u) == 0x7f800000u) return x;
  const uint32_t dropped = 23u - static_cast<uint32_t>(kept);
  bits += (1u << (dropped - 1)) - 1 + (bits >> dropped & 1);
  bits = bits >> dropped << dropped;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}

float as_computed(float x, int compute) {
  if (compute == kBlasComputeTf32) return rounded(x, 10);
  if (compute == kBlasComputeBf16) return rounded(x, 7);
  return x;
}

struct Call {
  int op_a, op_b, m, n, k;
  float alpha, beta;
  const float* a;
  int lda;
  const float* b;
  int ldb;
  float* c;
  int ldc;
  int compute;
};

// c = alpha op(a) op(b) + beta c, by columns; sums in double, one after the other.
void multiply(const Call& call) {
  const auto m = static_cast<size_t>(call.m), n = static_cast<size_t>(call.n);
  const auto k = static_cast<size_t>(call.k);
  const auto lda = static_cast<size_t>(call.lda), ldb = static_cast<size_t>(call.ldb);
  // op(a) by columns, so that the innermost loop runs along memory.
  std::vector<float> a(m * k);
  for (size_t l = 0; l < k; ++l) {
    for (size_t i = 0; i < m; ++i) {
      const float x = call.op_a == kBlasT ? call.a[l + i * lda] : call.a[i + l * lda];
      a[l * m + i] = as_computed(x, call.compute);
    }
  }
  std::vector<double> sums(m);
  for (size_t j = 0; j < n; ++j) {
    std::fill(sums.begin(), sums.end(), 0.0);
    for (size_t l = 0; l < k; ++l) {
      const float x = call.op_b == kBlasT ? call.b[j + l * ldb] : call.b[l + j * ldb];
      const double y = as_computed(x, call.compute);
      for (size_t i = 0; i < m; ++i) sums[i] += y * static_cast<double>(a[l * m + i]);
    }
    float* c = call.c + j * static_cast<size_t>(call.ldc);
    for (size_t i = 0; i < m; ++i) {
      const float product = call.alpha * static_cast<float>(sums[i]);
      c[i] = call.beta == 0 ? product : product + call.beta * c[i];
    }
  }
}

// Of cublasStatus_t.
constexpr int kAllocationFailed = 3, kInvalidValue = 7, kExecutionFailed = 13;

// What cuBLAS makes at its first product.
constinit cuda_host::UntilExit tables;

int gemm_batched(BlasHandle handle, int op_a, int op_b, int m, int n, int k, const void* alpha,
                 const void* a, int, int lda, long long stride_a, const void* b, int, int ldb,
                 long long stride_b, const void* beta, void* c, int, int ldc, long long stride_c,
                 int count, int compute, int) {
  static const char what = 0;
  tables.open();
  tables.expect("a product");
  if (cuda_host::fails(cuda_host::Call::product)) return kExecutionFailed;
  // What cuBLAS does then is not documented for all of its functions.
  if (k == 0) cuda_host::die("a product of nothing");
  if (lda < std::max(1, op_a == kBlasT ? k : m) || ldb < std::max(1, op_b == kBlasT ? n : k) ||
      ldc < std::max(1, m) || m < 0 || n < 0 || k < 0) {
    return kInvalidValue;
  }
  const Call call{op_a,
                  op_b,
                  m,
                  n,
                  k,
                  *static_cast<const float*>(alpha),
                  *static_cast<const float*>(beta),
                  static_cast<const float*>(a),
                  lda,
                  static_cast<const float*>(b),
                  ldb,
                  static_cast<float*>(c),
                  ldc,
                  compute};
  cuda_host::submit(handle->stream, &what, [=] {
    cuda_host::check_argument_of(call, "a product");
    for (int i = 0; i < count; ++i) {
      Call one = call;
      one.a += stride_a * i;
      one.b += stride_b * i;
      one.c += stride_c * i;
      multiply(one);
    }
  });
  return 0;
}

int gemm(BlasHandle handle, int op_a, int op_b, int m, int n, int k, const void* alpha,
         const void* a, int a_type, int lda, const void* b, int b_type, int ldb, const void* beta,
         void* c, int c_type, int ldc, int compute, int algorithm) {
  return gemm_batched(handle, op_a, op_b, m, n, k, alpha, a, a_type, lda, 0, b, b_type, ldb, 0,
                      beta, c, c_type, ldc, 0, 1, compute, algorithm);
}

int create(BlasHandle* handle) {
  if (cuda_host::fails(cuda_host::Call::allocation)) return kAllocationFailed;
  *handle = new cublasContext;
  return 0;
}
int destroy(BlasHandle handle) {
  delete handle;
  return 0;
}
int set_stream(BlasHandle handle, cudaStream_t stream) {
  handle->stream = stream;
  return 0;
}
int set_workspace(BlasHandle, void*, size_t) { return 0; }
const char* status(int status) {
  return status == kAllocationFailed  ? "the resource allocation failed"
         : status == kExecutionFailed ? "the function failed to launch on the GPU"
                                      : "an unsupported value or parameter was passed";
}

}  // namespace

const BlasApi* blas_api(std::string&) {
  static const BlasApi api{.cublasCreate_v2 = create,
                           .cublasDestroy_v2 = destroy,
                           .cublasSetStream_v2 = set_stream,
                           .cublasSetWorkspace_v2 = set_workspace,
                           .cublasGemmEx = gemm,
                           .cublasGemmStridedBatchedEx = gemm_batched,
                           .cublasGetStatusString = status};
  return &api;
}

}  // namespace fused_rnn::cuda
