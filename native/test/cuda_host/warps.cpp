// The threads of a warp: shuffles, votes and their masks.
#include "test/cuda_host/checks.h"

namespace fused_rnn::test {
namespace {

constexpr unsigned kAll = 0xffffffffu;

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

__global__ void lost_lane(float* x) {
  if (threadIdx.x % 32 < 31)
    x[threadIdx.x] = __shfl_xor_sync(kAll, 1.0f, 1);
  else
    __syncthreads();
}

}  // namespace

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

}  // namespace fused_rnn::test
