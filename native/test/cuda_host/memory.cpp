// Memory of the device and what may be done with it, and products.
#include <cmath>
#include <cstdlib>

#include "cuda/device/blas_api.h"
#include "test/cuda_host/checks.h"

namespace fused_rnn::test {
namespace {

#if defined(__SANITIZE_ADDRESS__)
constexpr const char* kBeyond = "AddressSanitizer: heap-buffer-overflow";
constexpr const char* kFreed = "a pointer to host memory";  // no longer the device's
#else
constexpr const char* kBeyond = "memory around a device allocation of 64 bytes was written";
constexpr const char* kFreed = "a pointer to freed device memory";
#endif

__global__ void write_at(float* x, int i) { x[i] = 1; }
__global__ void read_at(const float* x, int i, float* y) { *y = x[i]; }

struct Arguments {
  int n;
  float* x;
  double factor;
};
__global__ void write_struct(Arguments a) { a.x[0] = static_cast<float>(a.factor * a.n); }
__global__ void numbers_only(double a, uint64_t b, int64_t c, float* x) {
  *x = static_cast<float>(a) + static_cast<float>(b >> 40) + static_cast<float>(c);
}

std::vector<float> sixteen() { return std::vector<float>(16, 0.0f); }

float* allocate(cudaStream_t stream, size_t bytes) {
  float* data = nullptr;
  cuda::check(cudaMallocAsync(&data, bytes, stream), "allocation");
  return data;
}

void trim() {
  cudaMemPool_t pool;
  cuda::check(cudaDeviceGetDefaultMemPool(&pool, 0), "pool");
  cuda::check(cudaMemPoolTrimTo(pool, 0), "trim");
}

void add_pointer_checks(Checks& checks) {
  checks.add_death("a kernel writes beyond its memory", kBeyond, [] {
    Stream stream;
    const Array x(stream, sixteen());
    launch(write_at, 1, 1, 0, stream, x.data, 16);
    stream.wait();
  });
  checks.add_death("a kernel writes before its memory", kBeyond, [] {
    Stream stream;
    const Array x(stream, sixteen());
    launch(write_at, 1, 1, 0, stream, x.data, -1);
    stream.wait();
  });
#if defined(__SANITIZE_ADDRESS__)
  checks.add_death("a kernel reads beyond its memory", kBeyond, [] {
    Stream stream;
    const Array x(stream, sixteen());
    launch(read_at, 1, 1, 0, stream, x.data, 16, x.data);
    stream.wait();
  });
#endif
  checks.add("memory that was not written is NaN", [] {
    Stream stream;
    for (int i = 0; i < 2; ++i) {
      float* x = allocate(stream, 64);
      float* y = allocate(stream, 4);
      launch(read_at, 1, 1, 0, stream, x, 3, y);
      float got = 0;
      cudaMemcpyAsync(&got, y, 4, cudaMemcpyDeviceToHost, stream);
      stream.wait();
      expect(std::isnan(got), "a number");
      // The next one may be the same memory.
      launch(write_at, 1, 1, 0, stream, x, 3);
      cudaFreeAsync(x, stream);
      cudaFreeAsync(y, stream);
      stream.wait();
    }
  });
  checks.add_death("memory is used after it was freed", kFreed, [] {
    Stream stream;
    float* x = allocate(stream, 64);
    stream.wait();
    cudaFreeAsync(x, stream);
    launch(write_at, 1, 1, 0, stream, x, 0);
    stream.wait();
  });
  checks.add("memory is used before it is freed, in the stream's order", [] {
    for (unsigned s = 0; s < kSeeds; ++s) {
      seed(s);
      Stream stream;
      float* x = allocate(stream, 64);
      launch(write_at, 1, 1, 0, stream, x, 0);
      cudaFreeAsync(x, stream);
      stream.wait();
    }
  });
  checks.add_death("memory is freed twice", "memory is freed that is not allocated", [] {
    Stream stream;
    float* x = allocate(stream, 64);
    cudaFreeAsync(x, stream);
    cudaFreeAsync(x, stream);
    stream.wait();
  });
  checks.add_death("a pointer to the heap", "a pointer to host memory", [] {
    Stream stream;
    std::vector<float> x(16);
    launch(write_at, 1, 1, 0, stream, x.data(), 0);
    stream.wait();
  });
  checks.add_death("a pointer to the stack in a struct", "a pointer to host memory", [] {
    Stream stream;
    float x[16];
    launch(write_struct, 1, 1, 0, stream, Arguments{3, x, 0.5});
    stream.wait();
  });
  checks.add("numbers among arguments are no pointers", [] {
    Stream stream;
    const Array x(stream, {0});
    launch(numbers_only, 1, 1, 0, stream, 1e300, ~uint64_t{0}, int64_t{-5}, x.data);
    launch(numbers_only, 1, 1, 0, stream, -2.5, uint64_t{1} << 41, int64_t{1} << 33, x.data);
    launch(write_struct, 1, 1, 0, stream, Arguments{3, x.data, 0.5});
    expect_same(x.values(), {1.5});
  });
  checks.add("a kernel writes to pinned memory", [] {
    Stream stream;
    float* x = nullptr;
    cuda::check(cudaHostAlloc(&x, 4, cudaHostAllocMapped), "pinned");
    launch(write_at, 1, 1, 0, stream, x, 0);
    stream.wait();
    expect(*x == 1, "not written");
    cudaFreeHost(x);
  });
}

void add_copy_checks(Checks& checks) {
  checks.add_death("a copy in the wrong direction", "a copy to the device from device memory", [] {
    Stream stream;
    const Array x(stream, sixteen()), y(stream, sixteen());
    cudaMemcpyAsync(x.data, y.data, 64, cudaMemcpyHostToDevice, stream);
  });
  checks.add_death("a copy to the host into the device", "into device memory", [] {
    Stream stream;
    const Array x(stream, sixteen()), y(stream, sixteen());
    cudaMemcpyAsync(x.data, y.data, 64, cudaMemcpyDeviceToHost, stream);
  });
  checks.add_death("a copy between hosts as one of the device", "beyond device memory", [] {
    Stream stream;
    std::vector<float> x(16), y(16);
    cudaMemcpyAsync(x.data(), y.data(), 64, cudaMemcpyDeviceToDevice, stream);
    stream.wait();
  });
  checks.add_death("a copy beyond the end", "a copy beyond device memory", [] {
    Stream stream;
    const Array x(stream, sixteen());
    const std::vector<float> y(17);
    cudaMemcpyAsync(x.data, y.data(), 68, cudaMemcpyHostToDevice, stream);
    stream.wait();
  });
  checks.add_death("a fill beyond the end", "a fill beyond device memory", [] {
    Stream stream;
    const Array x(stream, sixteen());
    cudaMemsetAsync(x.data, 0, 65, stream);
    stream.wait();
  });
  // What is copied from pinned memory is what is there when the copy runs.
  checks.add("pinned memory that changes too early shows", [] {
    int changed = 0;
    for (unsigned s = 0; s < kSeeds; ++s) {
      seed(s);
      Stream stream;
      const Array x(stream, {0});
      float* pinned = nullptr;
      cuda::check(cudaHostAlloc(&pinned, 4, 0), "pinned");
      *pinned = 1;
      cudaMemcpyAsync(x.data, pinned, 4, cudaMemcpyHostToDevice, stream);
      *pinned = 2;
      changed += x.values()[0] == 2;
      cudaFreeHost(pinned);
    }
    expect(changed > 0, "never seen");
  });
  checks.add("ordinary memory may change after the call", [] {
    Stream stream;
    const Array x(stream, {0});
    float y = 1;
    cudaMemcpyAsync(x.data, &y, 4, cudaMemcpyHostToDevice, stream);
    y = 2;
    expect_same(x.values(), {1});
  });
  checks.add("no more memory is an error, and the next call may succeed", [] {
    Stream stream;
    stream.wait();
    trim();
    size_t free = 0, total = 0;
    cudaMemGetInfo(&free, &total);
    float* x = nullptr;
    expect(cudaMallocAsync(&x, total + 1, stream) == cudaErrorMemoryAllocation, "allocated");
    expect(cudaGetLastError() == cudaErrorMemoryAllocation && cudaGetLastError() == cudaSuccess,
           "the error is not there once");
    float* y = allocate(stream, 64);
    size_t left = 0;
    cudaMemGetInfo(&left, &total);
    expect(left == free - 64, "another count");
    cudaFreeAsync(y, stream);
    stream.wait();
  });
#if !defined(__SANITIZE_ADDRESS__)  // with it, nothing is kept
  checks.add("what the pool keeps is for nobody else until it is trimmed", [] {
    const Stream stream;
    stream.wait();
    trim();
    size_t free = 0, total = 0;
    cudaMemGetInfo(&free, &total);
    setenv("FUSED_RNN_CUDA_HOST_MEMORY", std::to_string(total - free + 1000).c_str(), 1);
    cudaFreeAsync(allocate(stream, 800), stream);
    stream.wait();
    float* x = nullptr;
    const bool kept = cudaMalloc(&x, 800) == cudaErrorMemoryAllocation &&
                      cudaMallocAsync(&x, 400, stream) == cudaErrorMemoryAllocation;
    const bool again = cudaMallocAsync(&x, 800, stream) == cudaSuccess;
    if (again) cudaFreeAsync(x, stream);
    stream.wait();
    trim();
    const bool trimmed = cudaMalloc(&x, 800) == cudaSuccess;
    if (trimmed) cudaFree(x);
    unsetenv("FUSED_RNN_CUDA_HOST_MEMORY");
    cudaGetLastError();
    expect(kept, "somebody else has it");
    expect(again, "the pool has not");
    expect(trimmed, "trimmed, and still not there");
  });
#endif
}

// ---- Products ----

const cuda::BlasApi& blas() {
  std::string why;
  const cuda::BlasApi* api = cuda::blas_api(why);
  expect(api != nullptr, why);
  return *api;
}

// c = 2 op(a) op(b) + 0.5 c by columns, of whole numbers, so that any order of sums is exact.
void check_product(bool trans_a, bool trans_b, int m, int n, int k) {
  Stream stream;
  const auto number = [](int i) { return static_cast<float>(i * 7 % 11 - 5); };
  const int lda = (trans_a ? k : m) + 1, ldb = (trans_b ? n : k) + 2, ldc = m + 3;
  std::vector<float> a, b, c;
  for (int i = 0; i < lda * (trans_a ? m : k); ++i) a.push_back(number(i));
  for (int i = 0; i < ldb * (trans_b ? k : n); ++i) b.push_back(number(i + 3));
  for (int i = 0; i < ldc * n; ++i) c.push_back(2 * number(i + 5));
  std::vector<float> expected = c;
  for (int j = 0; j < n; ++j) {
    for (int i = 0; i < m; ++i) {
      float sum = 0;
      for (int l = 0; l < k; ++l) {
        const size_t at_a = static_cast<size_t>(trans_a ? l + i * lda : i + l * lda);
        const size_t at_b = static_cast<size_t>(trans_b ? j + l * ldb : l + j * ldb);
        sum += a[at_a] * b[at_b];
      }
      float& x = expected[static_cast<size_t>(i + j * ldc)];
      x = 2 * sum + 0.5f * x;
    }
  }
  const Array on_a(stream, a), on_b(stream, b), on_c(stream, c);
  cuda::BlasHandle handle;
  expect(blas().cublasCreate_v2(&handle) == 0 && blas().cublasSetStream_v2(handle, stream) == 0,
         "no handle");
  const float alpha = 2, beta = 0.5f;
  expect(
      blas().cublasGemmEx(handle, trans_a, trans_b, m, n, k, &alpha, on_a.data, cuda::kBlasFloat,
                          lda, on_b.data, cuda::kBlasFloat, ldb, &beta, on_c.data, cuda::kBlasFloat,
                          ldc, cuda::kBlasCompute32, cuda::kBlasDefaultAlgorithm) == 0,
      "refused");
  expect_same(on_c.values(), expected);
  blas().cublasDestroy_v2(handle);
}

// What a factor is rounded to.
float rounded(float x, int compute) {
  Stream stream;
  const Array a(stream, {x}), one(stream, {1}), c(stream, {0});
  cuda::BlasHandle handle;
  blas().cublasCreate_v2(&handle);
  blas().cublasSetStream_v2(handle, stream);
  const float alpha = 1, beta = 0;
  blas().cublasGemmEx(handle, 0, 0, 1, 1, 1, &alpha, a.data, cuda::kBlasFloat, 1, one.data,
                      cuda::kBlasFloat, 1, &beta, c.data, cuda::kBlasFloat, 1, compute,
                      cuda::kBlasDefaultAlgorithm);
  const float result = c.values()[0];
  blas().cublasDestroy_v2(handle);
  return result;
}

void add_product_checks(Checks& checks) {
  checks.add("products", [] {
    for (int which = 0; which < 4; ++which) {
      check_product(which & 1, which & 2, 1, 1, 1);
      check_product(which & 1, which & 2, 5, 3, 7);
      check_product(which & 1, which & 2, 33, 17, 65);
    }
  });
  checks.add_death("a product of nothing", "a product of nothing",
                   [] { check_product(false, false, 4, 4, 0); });
  checks.add("factors of products are rounded", [] {
    const float x = 1.0f + 1.0f / 1024 + 1.0f / 4096;  // 1 and the bits 10 and 12
    expect(rounded(x, cuda::kBlasCompute32) == x, "float32");
    expect(rounded(x, cuda::kBlasComputeTf32) == 1.0f + 1.0f / 1024, "tf32");
    expect(rounded(x, cuda::kBlasComputeBf16) == 1.0f, "bf16");
    // Ties go to the even one.
    expect(rounded(1.0f + 1.0f / 256, cuda::kBlasComputeBf16) == 1.0f, "down");
    expect(rounded(1.0f + 3.0f / 256, cuda::kBlasComputeBf16) == 1.0f + 4.0f / 256, "up");
    expect(std::isnan(rounded(NAN, cuda::kBlasComputeTf32)), "NaN");
    expect(std::isinf(rounded(INFINITY, cuda::kBlasComputeBf16)), "infinity");
  });
  checks.add_death("a product of host memory", "a pointer to host memory", [] {
    Stream stream;
    const Array a(stream, {1}), c(stream, {0});
    float b = 1;
    cuda::BlasHandle handle;
    blas().cublasCreate_v2(&handle);
    blas().cublasSetStream_v2(handle, stream);
    const float alpha = 1, beta = 0;
    blas().cublasGemmEx(handle, 0, 0, 1, 1, 1, &alpha, a.data, cuda::kBlasFloat, 1, &b,
                        cuda::kBlasFloat, 1, &beta, c.data, cuda::kBlasFloat, 1,
                        cuda::kBlasCompute32, cuda::kBlasDefaultAlgorithm);
    stream.wait();
  });
}

}  // namespace

void add_memory_checks(Checks& checks) {
  add_pointer_checks(checks);
  add_copy_checks(checks);
  add_product_checks(checks);
}

}  // namespace fused_rnn::test
