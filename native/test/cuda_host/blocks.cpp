// The threads of a block: barriers and shared memory.
#include <cmath>
#include <numeric>

#include "test/cuda_host/checks.h"

namespace fused_rnn::test {
namespace {

// ---- Barriers ----

// Sums 256 values by a tree in shared memory; without a barrier where a bit of `barriers` is 0.
__global__ void tree_sum(float* sum, const float* x, unsigned barriers) {
  FUSED_RNN_SHARED(float, parts, 256);
  const unsigned i = threadIdx.x;
  parts[i] = x[i];
  if (barriers & 1) __syncthreads();
  for (unsigned n = 128; n > 0; n /= 2) {
    if (i < n) parts[i] += parts[i + n];
    if (barriers & 2) __syncthreads();
  }
  if (i == 0) *sum = parts[0];
}

// How many of some orders give the right sum.
int right_sums(unsigned barriers) {
  Stream stream;
  std::vector<float> numbers(256);
  std::iota(numbers.begin(), numbers.end(), 1.0f);
  const Array x(stream, numbers);
  int right = 0;
  for (unsigned i = 0; i < kSeeds; ++i) {
    seed(i);
    const Array sum(stream, {0});
    launch(tree_sum, 1, 256, 0, stream, sum.data, x.data, barriers);
    right += sum.values()[0] == 256 * 257 / 2;
  }
  return right;
}

__global__ void block_sum(float* sums) {
  FUSED_RNN_SHARED(float, scratch, cuda::kWarp);
  const auto add = [](float a, float b) { return a + b; };
  const float x = static_cast<float>(cuda::global_thread());
  const float first = cuda::block_reduce(x, 0.0f, scratch, add);
  const float again = cuda::block_reduce(x + 1, 0.0f, scratch, add);
  if (threadIdx.x == 0) sums[blockIdx.x] = again - first;
}

__global__ void early_return(float* x) {
  if (threadIdx.x == 3) return;
  __syncthreads();
  x[threadIdx.x] = 1;
}

__global__ void two_barriers(float* x) {
  if (threadIdx.x < 32) {
    x[threadIdx.x] = 1;
    __syncthreads();
  } else {
    __syncthreads();
    x[threadIdx.x] = 2;
  }
}

__global__ void half_at_barrier(float* x) {
  if (threadIdx.x < 32) {
    __syncthreads();
  } else {
    while (*static_cast<volatile float*>(x) != 77) __nanosleep(20);
  }
}

__global__ void voting_barriers(float* x) {
  const int i = static_cast<int>(threadIdx.x);
  const int count = __syncthreads_count(i % 3 == 0);
  const int none = __syncthreads_or(i > 1000), some = __syncthreads_or(i == 17);
  const int all = __syncthreads_and(i < 1000), most = __syncthreads_and(i != 17);
  x[i] = static_cast<float>(count + 1000 * none + 100 * some + 200 * all + 4000 * most);
}

// ---- Shared memory ----

__global__ void fresh_shared(float* x) {
  FUSED_RNN_SHARED(float, one, 32);
  FUSED_RNN_SHARED(float, two, 32);
  FUSED_RNN_DYNAMIC_SHARED(float, three);
  const unsigned i = threadIdx.x;
  x[i] = static_cast<float>(std::isnan(one[i]) + std::isnan(two[i]) + std::isnan(three[i]));
  __syncthreads();
  // For the next block.
  one[i] = two[i] = three[i] = 1;
  if (one == two || two == three || one + 32 > two) x[i] = 0;
}

__global__ void large_static(float* x) {
  FUSED_RNN_SHARED(float, values, 12289);
  values[threadIdx.x] = 1;
  x[threadIdx.x] = values[threadIdx.x];
}
__global__ void large_dynamic(float* x) {
  FUSED_RNN_DYNAMIC_SHARED(float, values);
  values[20000 + threadIdx.x] = static_cast<float>(threadIdx.x);
  __syncthreads();
  x[threadIdx.x] = values[20031 - threadIdx.x];
}

void add_shared_checks(Checks& checks) {
  checks.add("shared memory begins as NaN", [] {
    Stream stream;
    const Array x(stream, repeated(0, 32));
    launch(fresh_shared, 7, 32, 128, stream, x.data);
    expect_same(x.values(), repeated(3, 32));
  });
  checks.add_death("more than 48 KB of arrays", "more than 48 KB", run_once(large_static, 1, 32));
  checks.add_death("no dynamic shared memory", "a launch without the shared memory",
                   run_once(large_dynamic, 1, 32));
  checks.add("more than 48 KB where asked for", [] {
    Stream stream;
    const Array x(stream, repeated(0, 32));
    constexpr size_t kBytes = 20032 * sizeof(float);
    bool refused = false;
    try {
      launch(large_dynamic, 1, 32, kBytes, stream, x.data);
    } catch (const std::exception&) {
      refused = true;
    }
    expect(refused, "launched without cudaFuncSetAttribute");
    cuda::check(cudaFuncSetAttribute(large_dynamic, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                     static_cast<int>(kBytes)),
                "attribute");
    launch(large_dynamic, 1, 32, kBytes, stream, x.data);
    std::vector<float> expected(32);
    for (size_t i = 0; i < 32; ++i) expected[i] = static_cast<float>(31 - i);
    expect_same(x.values(), expected);
    expect(cudaFuncSetAttribute(large_dynamic, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                228 << 10) == cudaErrorInvalidValue,
           "more than a block can have");
    cudaGetLastError();
  });
}

}  // namespace

void add_block_checks(Checks& checks) {
  checks.add("a sum with its barriers is right in any order",
             [] { expect(right_sums(3) == static_cast<int>(kSeeds), "wrong with all barriers"); });
  checks.add("a missing barrier shows: after the values are written",
             [] { expect(right_sums(2) < static_cast<int>(kSeeds), "right without it"); });
  checks.add("a missing barrier shows: in the tree",
             [] { expect(right_sums(1) < static_cast<int>(kSeeds), "right without it"); });
  checks.add("block_reduce, twice with the same scratch", [] {
    for (unsigned s = 0; s < kSeeds; ++s) {
      seed(s);
      Stream stream;
      const Array sums(stream, repeated(0, 3));
      launch(block_sum, 3, 96, 0, stream, sums.data);
      expect_same(sums.values(), repeated(96, 3));
    }
  });
  checks.add("barriers that vote", [] {
    Stream stream;
    const Array x(stream, repeated(0, 64));
    launch(voting_barriers, 1, 64, 0, stream, x.data);
    expect_same(x.values(), repeated(22 + 100 + 200, 64));
  });
  checks.add_death("a thread that returns before a barrier", "__syncthreads",
                   run_once(early_return, 1, 64));
  checks.add_death("threads at different barriers", "are at different __syncthreads: lines",
                   run_once(two_barriers, 1, 64));
  checks.add_death("half a block at a barrier", "threads wait for what no thread writes",
                   run_once(half_at_barrier, 1, 64));
  add_shared_checks(checks);
}

}  // namespace fused_rnn::test
