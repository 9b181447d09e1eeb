// The blocks of a grid: their numbers and order, atomics, and launches whose blocks wait for each
// other.
#include <cstring>

#include "cuda/device/cooperative.h"
#include "test/cuda_host/checks.h"

namespace fused_rnn::test {
namespace {

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
// Every block waits for the one whose ticket, or number, is before its own.
__global__ void chain(float* x, bool by_ticket) {
  FUSED_RNN_SHARED(unsigned, own, 1);
  auto* ticket = reinterpret_cast<unsigned*>(x + 63);
  if (threadIdx.x == 0) own[0] = by_ticket ? atomicAdd(ticket, 1u) : blockIdx.x;
  __syncthreads();
  const unsigned i = own[0];
  if (threadIdx.x != 1) return;
  while (i > 0 && *static_cast<volatile float*>(x + i - 1) == 0) __nanosleep(20);
  x[i] = i > 0 ? x[i - 1] + 1 : 1;
}
// How often another block has run between two steps of this one.
__global__ void visits(float* x) {
  for (int r = 0; r < 20; ++r) {
    if (threadIdx.x == 0) {
      if (x[0] != static_cast<float>(blockIdx.x)) x[1] += 1;
      x[0] = static_cast<float>(blockIdx.x);
    }
    __syncthreads();
  }
}
__global__ void wait_for_nobody(unsigned* flag) {
  while (*static_cast<volatile unsigned*>(flag) != 77) __nanosleep(20);
}

__global__ void any_kernel(float*) {}

}  // namespace

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
        launch(any_kernel, grid, block, shared, stream, x.data);
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
    launch(any_kernel, 0, 32, 0, stream, x.data);
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
  checks.add("blocks of an ordinary launch run side by side", [] {
    Stream stream;
    const Array x(stream, {-1, 0});
    launch(visits, 8, 32, 0, stream, x.data);
    expect(x.values()[1] > 8, "one after the other");
  });
  checks.add("blocks that wait for those with earlier tickets", [] {
    for (unsigned s = 0; s < kSeeds; ++s) {
      seed(s);
      Stream stream;
      const Array x(stream, repeated(0, 64));
      launch(chain, 48, 32, 0, stream, x.data, true);
      expect(x.values()[47] == 48, "too early");
    }
  });
  checks.add_death("blocks that wait for those with smaller numbers", "what no thread writes",
                   run_once(chain, 48, 32, false));
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

}  // namespace fused_rnn::test
