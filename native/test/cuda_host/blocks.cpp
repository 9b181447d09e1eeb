// Threads, blocks, warps and shared memory.
#include <cmath>
#include <numeric>

#include "cuda/device/cooperative.h"
#include "test/cuda_host/checks.h"

namespace fused_rnn::test {
namespace {

constexpr unsigned kAll = 0xffffffffu;

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

__global__ void lost_lane(float* x) {
  if (threadIdx.x % 32 < 31)
    x[threadIdx.x] = __shfl_xor_sync(kAll, 1.0f, 1);
  else
    __syncthreads();
}

__global__ void voting_barriers(float* x) {
  const int i = static_cast<int>(threadIdx.x);
  const int count = __syncthreads_count(i % 3 == 0);
  const int none = __syncthreads_or(i > 1000), some = __syncthreads_or(i == 17);
  const int all = __syncthreads_and(i < 1000), most = __syncthreads_and(i != 17);
  x[i] = static_cast<float>(count + 1000 * none + 100 * some + 200 * all + 4000 * most);
}

// ---- Warps ----

__global__ void shuffles(float* x) {
  const int lane = static_cast<int>(threadIdx.x % 32);
  const auto value = static_cast<float>(threadIdx.x);
  float* own = x + threadIdx.x * 6;
  own[0] = cuda::warp_reduce(value, [](float a, float b) { return a + b; });
  own[1] = __shfl_up_sync(kAll, value, 3);
  own[2] = __shfl_down_sync(kAll, value, 3);
  own[3] = __shfl_sync(kAll, value, 7);
  own[4] = __shfl_sync(kAll, value, 2, 8);
  const unsigned odd = __ballot_sync(kAll, lane & 1);
  const bool votes = __all_sync(kAll, lane < 32) && !__all_sync(kAll, lane < 31) &&
                     __any_sync(kAll, lane == 5) && !__any_sync(kAll, lane > 31);
  own[5] = odd == 0xaaaaaaaau && votes ? 1.0f : 0.0f;
}

// Two halves of a warp that go through different numbers of operations, then both together.
__global__ void halves(float* x) {
  const int lane = static_cast<int>(threadIdx.x);
  const unsigned half = lane < 16 ? 0x0000ffffu : 0xffff0000u;
  auto value = static_cast<double>(lane);
  for (int i = 0; i < (lane < 16 ? 1 : 4); ++i) value = __shfl_xor_sync(half, value, 1);
  value += __shfl_xor_sync(kAll, value, 16);
  x[lane] = static_cast<float>(value);
}

__global__ void partial_warp(float* x) {
  const auto value = static_cast<int64_t>(threadIdx.x);
  x[threadIdx.x] = static_cast<float>(__shfl_sync(kAll, value, 0)) +
                   static_cast<float>(__popc(__ballot_sync(kAll, 1)));
}

__global__ void beyond_the_block(float* x) { x[threadIdx.x] = __shfl_xor_sync(kAll, 1.0f, 8); }

__global__ void unnamed_lane(float* x) { x[threadIdx.x] = __shfl_xor_sync(0xffffu, 1.0f, 1); }
__global__ void unnamed_source(float* x) {
  if (threadIdx.x < 16) x[threadIdx.x] = __shfl_xor_sync(0xffffu, 1.0f, 16);
}
__global__ void ended_lane(float* x) {
  if (threadIdx.x >= 8) return;
  __syncwarp(0xff);
  x[threadIdx.x] = __shfl_xor_sync(kAll, 1.0f, 1);
}
__global__ void different_masks(float* x) {
  x[threadIdx.x] = __shfl_xor_sync(threadIdx.x < 16 ? kAll : 0xffff0000u, 1.0f, 1);
}
__global__ void different_calls(float* x) {
  if (threadIdx.x < 16)
    x[threadIdx.x] = __shfl_xor_sync(kAll, 1.0f, 1);
  else
    x[threadIdx.x] = static_cast<float>(__ballot_sync(kAll, 1));
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

// ---- Grids ----

__global__ void positions(float* x, dim3 size) {
  const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
  const unsigned j = blockIdx.y * blockDim.y + threadIdx.y;
  const unsigned k = blockIdx.z * blockDim.z + threadIdx.z;
  if (size.x == gridDim.x * blockDim.x)
    x[(k * size.y + j) * size.x + i] += static_cast<float>(i + 10 * j + 100 * k);
}

__global__ void number_of_block(float* order, unsigned* next) {
  if (threadIdx.x == 0) order[atomicAdd(next, 1u)] = static_cast<float>(blockIdx.x);
}

__global__ void atomics(unsigned* x) {
  atomicAdd(x, threadIdx.x);
  atomicMax(x + 1, threadIdx.x);
  atomicMin(x + 2, threadIdx.x);
  if (atomicCAS(x + 3, 0u, threadIdx.x + 1) == 0) atomicExch(x + 4, threadIdx.x + 1);
}

// Every block needs what the block before it wrote, in each of the rounds.
__global__ void rounds(float* x, int count, bool waits) {
  const unsigned n = gridDim.x * blockDim.x, i = blockIdx.x * blockDim.x + threadIdx.x;
  for (int r = 0; r < count; ++r) {
    const float* from = x + (r % 2) * n;
    float* to = x + ((r + 1) % 2) * n;
    to[i] = from[(i + 1) % n] + 1;
    if (waits) cuda::grid_sync();
  }
}

// Blocks that wait for a flag of another one.
__global__ void relay(unsigned* flag, float* x) {
  if (threadIdx.x == 0) {
    while (*static_cast<volatile unsigned*>(flag) != blockIdx.x) __nanosleep(20);
    x[blockIdx.x] = static_cast<float>(*flag);
    __threadfence();
    atomicAdd(flag, 1u);
  }
}
__global__ void wait_for_nobody(unsigned* flag) {
  while (*static_cast<volatile unsigned*>(flag) != 77) __nanosleep(20);
}

std::vector<float> repeated(float value, size_t n) { return std::vector<float>(n, value); }

template <class... P, class... A>
std::function<void()> run_once(void (*kernel)(P...), dim3 grid, dim3 block, A... args) {
  return [=] {
    Stream stream;
    const Array x(stream, repeated(0, 64));
    launch(kernel, grid, block, 0, stream, x.data, args...);
    stream.wait();
  };
}

void add_warp_checks(Checks& checks) {
  checks.add("warp operations", [] {
    for (unsigned s = 0; s < kSeeds; ++s) {
      seed(s);
      Stream stream;
      const Array x(stream, repeated(0, 64 * 6));
      launch(shuffles, 1, 64, 0, stream, x.data);
      std::vector<float> expected;
      for (int i = 0; i < 64; ++i) {
        const int lane = i % 32, warp = i - lane;
        const int numbers[] = {31 * 16 + 32 * warp,     lane < 3 ? i : i - 3,
                               lane > 28 ? i : i + 3,   warp + 7,
                               warp + lane / 8 * 8 + 2, 1};
        for (const int number : numbers) expected.push_back(static_cast<float>(number));
      }
      expect_same(x.values(), expected);
    }
  });
  checks.add("groups of a warp", [] {
    for (unsigned s = 0; s < kSeeds; ++s) {
      seed(s);
      Stream stream;
      const Array x(stream, repeated(0, 32));
      launch(halves, 1, 32, 0, stream, x.data);
      std::vector<float> expected;
      for (int i = 0; i < 32; ++i) {
        const int low = i % 16 ^ 1, high = i % 16 + 16;
        expected.push_back(static_cast<float>(low + high));
      }
      expect_same(x.values(), expected);
    }
  });
  checks.add("a block that is no multiple of a warp", [] {
    Stream stream;
    const Array x(stream, repeated(0, 40));
    launch(partial_warp, 1, 40, 0, stream, x.data);
    std::vector<float> expected = repeated(32, 40);
    for (size_t i = 32; i < 40; ++i) expected[i] = 32 + 8;
    expect_same(x.values(), expected);
  });
  checks.add_death("a shuffle from beyond the block", "reads from a lane that takes no part",
                   run_once(beyond_the_block, 1, 40));
  checks.add_death("a mask without the lane", "does not name it", run_once(unnamed_lane, 1, 32));
  checks.add_death("a mask without the source", "reads from a lane that takes no part",
                   run_once(unnamed_source, 1, 32));
  checks.add_death("a lane that has ended", "names a lane that has ended",
                   run_once(ended_lane, 1, 32));
  checks.add_death("different masks", "a warp operation names", run_once(different_masks, 1, 32));
  checks.add_death("different operations", "a warp operation names",
                   run_once(different_calls, 1, 32));
  checks.add_death("a lane that does not come", "not all", run_once(lost_lane, 1, 64));
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

void add_grid_checks(Checks& checks) {
  checks.add("every thread of every block, once", [] {
    Stream stream;
    const dim3 size(10, 6, 4);
    const Array x(stream, repeated(0, 240));
    launch(positions, dim3(5, 2, 1), dim3(2, 3, 4), 0, stream, x.data, size);
    std::vector<float> expected;
    for (int n = 0; n < 240; ++n) {
      expected.push_back(static_cast<float>(n % 10 + 10 * (n / 10 % 6) + 100 * (n / 60)));
    }
    expect_same(x.values(), expected);
  });
  checks.add("blocks run in another order each time", [] {
    Stream stream;
    std::vector<std::vector<float>> orders;
    for (int i = 0; i < 2; ++i) {
      const Array order(stream, repeated(0, 16)), next(stream, {0});
      launch(number_of_block, 16, 32, 0, stream, order.data,
             reinterpret_cast<unsigned*>(next.data));
      orders.push_back(order.values());
    }
    expect(orders[0] != orders[1], "the same order twice");
  });
  checks.add("atomics", [] {
    Stream stream;
    const Array x(stream, repeated(0, 5));
    auto* numbers = reinterpret_cast<unsigned*>(x.data);
    launch(atomics, 3, 64, 0, stream, numbers);
    unsigned got[5];
    const std::vector<float> values = x.values();
    std::memcpy(got, values.data(), sizeof got);
    expect(got[0] == 3 * 63 * 32 && got[1] == 63 && got[2] == 0, "add, max or min");
    expect(got[3] != 0 && got[3] == got[4], "compare and swap, or exchange");
  });
  checks.add("launches that a device would refuse", [] {
    Stream stream;
    const Array x(stream, {0});
    const auto refused = [&](dim3 grid, dim3 block, size_t shared) {
      try {
        launch(early_return, grid, block, shared, stream, x.data);
      } catch (const std::exception&) {
        return true;
      }
      return false;
    };
    expect(refused(1, 1025, 0), "1025 threads");
    expect(refused(1, dim3(1, 1, 65), 0), "65 threads deep");
    expect(refused(dim3(1, 65536), 1, 0), "65536 blocks high");
    expect(refused(1, 32, 48 * 1024 + 1), "more than 48 KB");
    // Empty grids are no launches.
    launch(early_return, 0, 32, 0, stream, x.data);
  });
  checks.add("a barrier of the grid", [] {
    for (unsigned s = 0; s < kSeeds; ++s) {
      seed(s);
      Stream stream;
      const Array x(stream, repeated(0, 2 * 8 * 48));
      cuda::launch_together(rounds, 8, 48, 0, stream, x.data, 9, true);
      const std::vector<float> got = x.values();
      for (size_t i = 0; i < 8 * 48; ++i) expect(got[8 * 48 + i] == 9, "a round too early");
    }
  });
  checks.add("a missing barrier of the grid shows", [] {
    int wrong = 0;
    for (unsigned s = 0; s < kSeeds; ++s) {
      seed(s);
      Stream stream;
      const Array x(stream, repeated(0, 2 * 8 * 48));
      cuda::launch_together(rounds, 8, 48, 0, stream, x.data, 9, false);
      const std::vector<float> got = x.values();
      for (size_t i = 0; i < 8 * 48; ++i) wrong += got[8 * 48 + i] != 9;
    }
    expect(wrong > 0, "right without it");
  });
  checks.add("blocks that wait for each other's flags", [] {
    Stream stream;
    const Array flag(stream, {0}), x(stream, repeated(-1, 8));
    cuda::launch_together(relay, 8, 32, 0, stream, reinterpret_cast<unsigned*>(flag.data), x.data);
    x.values();
  });
  checks.add("more blocks than fit at once are refused", [] {
    Stream stream;
    const Array x(stream, {0});
    int each = 0;
    cuda::check(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&each, rounds, 1024, 0), "asked");
    expect(each == 2, "two blocks of 1024 threads fit");
    bool refused = false;
    try {
      cuda::launch_together(rounds, 4 * 2 + 1, 1024, 0, stream, x.data, 1, true);
    } catch (const std::exception&) {
      refused = true;
    }
    expect(refused, "launched");
  });
  checks.add_death("a barrier of the grid in an ordinary launch", "a launch of single blocks",
                   run_once(rounds, 2, 16, 1, true));
  checks.add_death("a flag that nobody sets", "what no thread writes", [] {
    Stream stream;
    const Array x(stream, {0});
    launch(wait_for_nobody, 1, 32, 0, stream, reinterpret_cast<unsigned*>(x.data));
    stream.wait();
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
  add_warp_checks(checks);
  add_shared_checks(checks);
  add_grid_checks(checks);
}

}  // namespace fused_rnn::test
