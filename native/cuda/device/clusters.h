// Launches in clusters of blocks (compute capability 9.0), whose blocks write to each other's
// shared memory. As those of launch_together(), all blocks are on the device at once. For .cu
// files; code for older GPUs must not call what is of the device here.
#pragma once

#include "cuda/device/cooperative.h"

namespace fused_rnn::cuda {

// What every GPU with clusters can have.
constexpr int kBlocksOfCluster = 8;

// What describes a launch; it holds what the configuration points to.
class ClusterLaunch {
 public:
  ClusterLaunch(dim3 grid, dim3 block, size_t shared, cudaStream_t stream) {
    attributes_[0].id = cudaLaunchAttributeCooperative;
    attributes_[0].val.cooperative = 1;
    attributes_[1].id = cudaLaunchAttributeClusterDimension;
    attributes_[1].val.clusterDim.x = kBlocksOfCluster;
    attributes_[1].val.clusterDim.y = attributes_[1].val.clusterDim.z = 1;
    config_.gridDim = grid;
    config_.blockDim = block;
    config_.dynamicSmemBytes = shared;
    config_.stream = stream;
    config_.attrs = attributes_;
    config_.numAttrs = 2;
  }
  ClusterLaunch(const ClusterLaunch&) = delete;
  ClusterLaunch& operator=(const ClusterLaunch&) = delete;
  const cudaLaunchConfig_t* config() const { return &config_; }

 private:
  cudaLaunchAttribute attributes_[2] = {};
  cudaLaunchConfig_t config_ = {};
};

#if defined(__CUDACC__) || defined(FUSED_RNN_CUDA_HOST)
// How many clusters of the kernel the device holds at once; 0 where it has no such clusters. Allows
// the kernel that much shared memory, too.
template <class... P>
int max_resident_clusters(void (*kernel)(P...), dim3 block, size_t shared) {
  int clusters = 0;
  const ClusterLaunch launch(dim3(kBlocksOfCluster), block, shared, nullptr);
  const bool fine =
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                           static_cast<int>(shared)) == cudaSuccess &&
      cudaOccupancyMaxActiveClusters(&clusters, kernel, launch.config()) == cudaSuccess;
  if (fine) return clusters;
  cudaGetLastError();
  return 0;
}

// As launch_together(), of whole clusters; what should fit is max_resident_clusters()'s answer.
template <class... P, class... A>
void launch_clusters(void (*kernel)(P...), dim3 grid, dim3 block, size_t shared,
                     cudaStream_t stream, A... args) {
  const ClusterLaunch launch(grid, block, shared, stream);
  cudaLaunchKernelEx(launch.config(), kernel, static_cast<P>(args)...);
  const cudaError_t error = cudaGetLastError();
  // No driver has been asked yet whether it takes clusters in a cooperative launch; and another
  // thread may have allowed the kernel less shared memory.
  if (error == cudaErrorInvalidConfiguration || error == cudaErrorInvalidValue) {
    throw LaunchRefused(error, reinterpret_cast<const void*>(kernel));
  }
  check_together(error, reinterpret_cast<const void*>(kernel));
}

__device__ inline int cluster_rank() {
#if defined(__CUDACC__)
  int rank;
  asm("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  return rank;
#else
  return ::cuda_host::cluster_rank();
#endif
}

// A barrier of all threads of a cluster in two halves: after cluster_wait() a thread sees what the
// others wrote before their cluster_arrive(). Before blocks write to each other there has to be
// one, since a block may not have begun; and after it the last one, as it may end.
__device__ inline void cluster_arrive() {
#if defined(__CUDACC__)
  asm volatile("barrier.cluster.arrive.release;" ::: "memory");
#else
  ::cuda_host::cluster_arrive();
#endif
}
__device__ inline void cluster_wait() {
#if defined(__CUDACC__)
  asm volatile("barrier.cluster.wait.acquire;" ::: "memory");
#else
  ::cuda_host::cluster_wait();
#endif
}

// *own = x, in the shared memory of the block of that rank.
__device__ inline void store_at_rank(float2* own, int rank, const float2& x) {
#if defined(__CUDACC__)
  asm volatile(
      "{ .reg .u32 there; mapa.shared::cluster.u32 there, %0, %1;"
      " st.shared::cluster.v2.f32 [there], {%2,%3}; }" ::"r"(
          static_cast<uint32_t>(__cvta_generic_to_shared(own))),
      "r"(rank), "f"(x.x), "f"(x.y)
      : "memory");
#else
  *static_cast<float2*>(::cuda_host::shared_of_rank(own, rank)) = x;
#endif
}
#endif

}  // namespace fused_rnn::cuda
