// Clusters of blocks: their barrier, and each other's shared memory.
#include "cuda/device/clusters.h"

#include <cstdlib>

#include "test/cuda_host/checks.h"

namespace fused_rnn::test {
namespace {

constexpr int kBlocks = cuda::kBlocksOfCluster;
constexpr int kThreads = 32;
constexpr unsigned kAllBarriers = 3;

// In each round a thread gets from all blocks of its cluster what they had at its place, and goes
// on with a number made of them. Two buffers take turns, or with `in_place` there is one; without
// the first barrier or those of the rounds where a bit of `barriers` is 0.
__global__ void rounds(float* x, int count, bool in_place, unsigned barriers) {
  FUSED_RNN_DYNAMIC_SHARED(float2, got);
  const int rank = cuda::cluster_rank(), i = static_cast<int>(threadIdx.x);
  const auto first_of_cluster = static_cast<int>(blockIdx.x) / kBlocks * kBlocks;
  float own = static_cast<float>(i + first_of_cluster + rank);
  if (barriers & 1) {
    cuda::cluster_arrive();
    cuda::cluster_wait();
  }
  for (int round = 0; round < count; ++round) {
    float2* at = got + (in_place ? 0 : round % 2) * kBlocks * kThreads;
    for (int to = 0; to < kBlocks; ++to) {
      cuda::store_at_rank(at + rank * kThreads + i, to, make_float2(own, own + 1));
    }
    if (barriers & 2) {
      cuda::cluster_arrive();
      cuda::cluster_wait();
    }
    float next = static_cast<float>(rank + round);
    for (int from = 0; from < kBlocks; ++from) {
      const float2 pair = at[from * kThreads + i];
      next += pair.x * static_cast<float>(from % 3) - pair.y;
    }
    own = next / 8;
  }
  if (barriers == 1) cuda::cluster_arrive(), cuda::cluster_wait();  // nobody ends too early
  x[static_cast<int>(blockIdx.x) * kThreads + i] = own;
}

std::vector<float> expected_rounds(int blocks, int count) {
  std::vector<float> x;
  for (int n = 0; n < blocks * kThreads; ++n) {
    x.push_back(static_cast<float>(n % kThreads + n / kThreads));
  }
  for (int round = 0; round < count; ++round) {
    std::vector<float> before = x;
    for (int n = 0; n < blocks * kThreads; ++n) {
      const int block = n / kThreads, rank = block % kBlocks;
      float next = static_cast<float>(rank + round);
      for (int from = 0; from < kBlocks; ++from) {
        const float y =
            before[static_cast<size_t>((block - rank + from) * kThreads + n % kThreads)];
        next += y * static_cast<float>(from % 3) - (y + 1);
      }
      x[static_cast<size_t>(n)] = next / 8;
    }
  }
  return x;
}

constexpr size_t kRoundsShared = size_t{2} * kBlocks * kThreads * sizeof(float2);

// How many of some orders give the right numbers.
int right_rounds(bool in_place, unsigned barriers) {
  Stream stream;
  int right = 0;
  for (unsigned i = 0; i < kSeeds; ++i) {
    seed(i);
    const Array x(stream, std::vector<float>(2 * kBlocks * kThreads));
    cuda::launch_clusters(rounds, 2 * kBlocks, kThreads, kRoundsShared, stream, x.data, 5, in_place,
                          barriers);
    right += x.values() == expected_rounds(2 * kBlocks, 5);
  }
  return right;
}

__global__ void arrive_twice(float* x) {
  cuda::cluster_arrive();
  cuda::cluster_arrive();
  *x = 1;
}
__global__ void wait_only(float* x) {
  cuda::cluster_wait();
  *x = 1;
}
__global__ void early_end(float* x) {
  if (blockIdx.x == 3 && threadIdx.x == 5) return;
  cuda::cluster_arrive();
  cuda::cluster_wait();
  *x = 1;
}
__global__ void one_thread_elsewhere(float* x) {
  if (blockIdx.x == 3 && threadIdx.x == 5) cuda::grid_sync();
  cuda::cluster_arrive();
  cuda::cluster_wait();
  *x = 1;
}
// The first block ends while another one still writes to it.
__global__ void late_store(float* x) {
  FUSED_RNN_DYNAMIC_SHARED(float2, got);
  cuda::cluster_arrive();
  cuda::cluster_wait();
  if (cuda::cluster_rank() == 0) return;
  for (int i = 0; i < 1000; ++i) __nanosleep(20);
  cuda::store_at_rank(got, 0, make_float2(*x, 1));
}
__global__ void rank_too_high(float* x) {
  FUSED_RNN_DYNAMIC_SHARED(float2, got);
  cuda::cluster_arrive();
  cuda::cluster_wait();
  cuda::store_at_rank(got, kBlocks, make_float2(*x, 1));
}
__global__ void barrier_of_cluster(float* x) {
  cuda::cluster_arrive();
  cuda::cluster_wait();
  *x = 1;
}

std::function<void()> run_cluster(void (*kernel)(float*)) {
  return [=] {
    Stream stream;
    const Array x(stream, {0});
    cuda::launch_clusters(kernel, kBlocks, kThreads, kRoundsShared, stream, x.data);
    stream.wait();
  };
}

bool refused(dim3 grid, size_t shared) {
  Stream stream;
  const Array x(stream, {0});
  try {
    cuda::launch_clusters(barrier_of_cluster, grid, kThreads, shared, stream, x.data);
  } catch (const std::exception&) {
    return true;
  }
  stream.wait();
  return false;
}

}  // namespace

void add_cluster_checks(Checks& checks) {
  checks.add("blocks of a cluster write to each other", [] {
    expect(right_rounds(false, kAllBarriers) == static_cast<int>(kSeeds), "wrong");
  });
  checks.add("a missing barrier of a cluster shows",
             [] { expect(right_rounds(false, 1) < static_cast<int>(kSeeds), "right without it"); });
  checks.add("one buffer with one barrier a round shows", [] {
    expect(right_rounds(true, kAllBarriers) < static_cast<int>(kSeeds), "right with one");
  });
  checks.add_death("a block that has not begun", "of a block that has not begun",
                   [] { right_rounds(false, 2); });
  checks.add_death("a block that has ended", "of a block that has ended", run_cluster(late_store));
  checks.add_death("a rank that is too high", "the cluster does not have",
                   run_cluster(rank_too_high));
  checks.add_death("two arrivals", "arrives at the cluster's barrier twice",
                   run_cluster(arrive_twice));
  checks.add_death("a wait without arrival", "without arriving", run_cluster(wait_only));
  checks.add_death("a thread that ends before a cluster's barrier", "cluster", [] {
    for (unsigned s = 0; s < kSeeds; ++s) {
      seed(s);
      run_cluster(early_end)();
    }
  });
  checks.add_death("a thread that does not come to a cluster's barrier", "come to its barrier",
                   run_cluster(one_thread_elsewhere));
  checks.add_death("a cluster's barrier without clusters", "a launch without clusters", [] {
    Stream stream;
    const Array x(stream, {0});
    launch(barrier_of_cluster, kBlocks, kThreads, 0, stream, x.data);
    stream.wait();
  });
  checks.add("clusters that a device would refuse", [] {
    expect(!refused(2 * kBlocks, kRoundsShared), "two clusters");
    expect(refused(kBlocks + 1, 0), "one that is not full");
    const int room = cuda::max_resident_clusters(barrier_of_cluster, kThreads, kRoundsShared);
    expect(room == 4 * 32 / kBlocks, "room for as many as fit");
    expect(refused(dim3(static_cast<unsigned>((room + 1) * kBlocks)), kRoundsShared), "one more");
    constexpr size_t kLarge = size_t{100} << 10;
    expect(refused(kBlocks, kLarge), "more than 48 KB without asking");
    expect(cuda::max_resident_clusters(barrier_of_cluster, kThreads, kLarge) == 1,
           "two blocks each");
    expect(!refused(kBlocks, kLarge), "more than 48 KB");
    setenv("FUSED_RNN_CUDA_HOST_CAPABILITY", "89", 1);
    expect(refused(kBlocks, 0), "on an older device");
    expect(cuda::max_resident_clusters(barrier_of_cluster, kThreads, 0) == 0,
           "room on an older one");
    unsetenv("FUSED_RNN_CUDA_HOST_CAPABILITY");
  });
}

}  // namespace fused_rnn::test
