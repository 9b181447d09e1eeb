#include "cuda/device/blas.h"

#include <climits>
#include <stdexcept>

#include "core/queue.h"
#include "cuda/device/blas_api.h"

namespace fused_rnn::cuda {
namespace {

// What NVIDIA recommends for Hopper; with one of its own, a handle gives the same bits every time.
constexpr size_t kWorkspaceBytes = size_t{32} << 20;

int compute_of(Fp32Precision precision) {
  switch (precision) {
    case Fp32Precision::ieee:
      return kBlasCompute32;
    case Fp32Precision::tf32:
      return kBlasComputeTf32;
    case Fp32Precision::bf16:
      break;
  }
  return kBlasComputeBf16;
}

int size_of(int64_t value) {
  if (value > INT_MAX) {
    throw std::runtime_error("a matrix product of more than 2^31 - 1 rows or columns: " +
                             std::to_string(value));
  }
  return static_cast<int>(std::max<int64_t>(value, 0));
}
// Rows of nothing are one element apart.
int leading(int64_t value) { return std::max(size_of(value), 1); }

}  // namespace

struct Blas::State {
  const BlasApi* api = nullptr;
  BlasHandle handle = nullptr;
  void* workspace = nullptr;
  cudaStream_t stream = nullptr;

  State() = default;
  ~State() {
    if (handle != nullptr) api->cublasDestroy_v2(handle);
    if (workspace != nullptr) cudaFree(workspace);
  }
  State(const State&) = delete;
  State& operator=(const State&) = delete;

  void check(int status, const char* what) const {
    if (status == 0) return;
    throw std::runtime_error(std::string(what) + ": " + api->cublasGetStatusString(status));
  }
};

Blas::Blas() : state_(std::make_unique<State>()) {
  std::string why;
  state_->api = blas_api(why);
  if (state_->api == nullptr) throw std::runtime_error(why);
  state_->check(state_->api->cublasCreate_v2(&state_->handle), "cublasCreate");
  check(cudaMalloc(&state_->workspace, kWorkspaceBytes), "cudaMalloc for cuBLAS");
}

Blas::~Blas() = default;

std::string Blas::missing() {
  std::string why;
  blas_api(why);
  return why;
}

namespace {

// A product of nothing is zeros. Said here, as cuBLAS's documentation does not.
void multiply_nothing(const Product& p, cudaStream_t stream) {
  if (p.beta == 1) return;
  if (p.beta != 0) throw std::runtime_error("a matrix product of nothing with this beta");
  const bool whole = p.ldc == p.n;
  const int64_t parts = whole ? 1 : p.m, length = whole ? p.m * p.n : p.n;
  for (int64_t i = 0; i < p.count; ++i) {
    for (int64_t part = 0; part < parts; ++part) {
      check(cudaMemsetAsync(p.c + i * p.stride_c + part * p.ldc, 0,
                            static_cast<size_t>(length) * sizeof(float), stream),
            "cudaMemsetAsync");
    }
  }
}

}  // namespace

void Blas::multiply(const Product& p, Fp32Precision precision, cudaStream_t stream) {
  if (p.m == 0 || p.n == 0 || p.count == 0) return;
  if (p.k == 0) return multiply_nothing(p, stream);
  const BlasApi& api = *state_->api;
  if (stream != state_->stream) {
    state_->check(api.cublasSetStream_v2(state_->handle, stream), "cublasSetStream");
    // Setting the stream takes the workspace back.
    state_->check(api.cublasSetWorkspace_v2(state_->handle, state_->workspace, kWorkspaceBytes),
                  "cublasSetWorkspace");
    state_->stream = stream;
  }
  // To cuBLAS, which goes by columns, our matrices are transposed: c^T = op(b)^T op(a)^T.
  const int op_b = p.trans_b ? kBlasT : kBlasN, op_a = p.trans_a ? kBlasT : kBlasN;
  const int m = size_of(p.m), n = size_of(p.n), k = size_of(p.k);
  const int lda = leading(p.lda), ldb = leading(p.ldb), ldc = leading(p.ldc);
  const int compute = compute_of(precision);
  const int status =
      p.count == 1 ? api.cublasGemmEx(state_->handle, op_b, op_a, n, m, k, &p.alpha, p.b,
                                      kBlasFloat, ldb, p.a, kBlasFloat, lda, &p.beta, p.c,
                                      kBlasFloat, ldc, compute, kBlasDefaultAlgorithm)
                   : api.cublasGemmStridedBatchedEx(
                         state_->handle, op_b, op_a, n, m, k, &p.alpha, p.b, kBlasFloat, ldb,
                         p.stride_b, p.a, kBlasFloat, lda, p.stride_a, &p.beta, p.c, kBlasFloat,
                         ldc, p.stride_c, size_of(p.count), compute, kBlasDefaultAlgorithm);
  // cuBLAS makes tables at its first product, which are gone at the end of the process.
  static const bool first = (stop_queues_at_exit(), true);
  static_cast<void>(first);
  state_->check(status, p.count == 1 ? "cublasGemmEx" : "cublasGemmStridedBatchedEx");
}

}  // namespace fused_rnn::cuda
