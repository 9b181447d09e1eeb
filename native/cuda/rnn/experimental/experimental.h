// Variants of the persistent kernels that are correct in native/cuda_host and compile without
// spills, and have never run on hardware. They are used only where FUSED_RNN_CUDA_PATH=wavefront or
// FUSED_RNN_CUDA_CLUSTERS=on asks for them.
#pragma once

#include "cuda/rnn/persistent.h"

namespace fused_rnn::cuda {

// ---- Wavefront: the layers of a call in one launch, each a step behind the one that feeds it ----

constexpr int kMostLayers = 8;

// Nothing where it is not asked for, or where the kernel does not fit the GPU.
std::optional<Tiling> wavefront_tiling(const RnnShape& shape, Pass pass, CudaDevice& device);

int max_resident_wavefront_forward(CellKind cell, const Tiling& tiling, CudaDevice& device);
int max_resident_wavefront_backward(CellKind cell, const Tiling& tiling, CudaDevice& device);

// In the order in which the layers run; feeds[i] leads from the layer before to the i-th.
void run_wavefront(const std::vector<ForwardLoop>& layers, const std::vector<Feed>& feeds,
                   const Tiling& tiling, CudaDevice& device);
void run_wavefront(const std::vector<BackwardLoop>& layers, const std::vector<Feed>& feeds,
                   const Tiling& tiling, CudaDevice& device);

// ---- Clusters: eight blocks add up their partial sums in shared memory first; backward ----------

// A persistent tiling with its unit tiles in clusters, where that is asked for and fits the GPU;
// else as it was.
Tiling in_clusters(const RnnShape& shape, const Tiling& tiling, CudaDevice& device);

int max_resident_clusters_backward(CellKind cell, const Tiling& tiling, CudaDevice& device);

void run_clusters(const std::vector<BackwardLoop>& directions, const Tiling& tiling,
                  CudaDevice& device);

}  // namespace fused_rnn::cuda
