// Where the experimental kernels are used: only where an environment variable asks for them.
#include <cstdlib>
#include <stdexcept>
#include <string>

#include "cuda/rnn/experimental/experimental.h"

namespace fused_rnn::cuda {
namespace {

bool clusters_asked_for() {
  const char* value = std::getenv("FUSED_RNN_CUDA_CLUSTERS");
  const std::string name = value == nullptr ? "" : value;
  if (name.empty() || name == "off") return false;
  if (name == "on") return true;
  throw std::runtime_error("FUSED_RNN_CUDA_CLUSTERS: expected 'on' or 'off', got '" + name + "'");
}

}  // namespace

Tiling in_clusters(const RnnShape& s, const Tiling& tiling, CudaDevice& device) {
  static const bool asked_for = clusters_asked_for();
  // Weights that some kernels keep in shared memory are in the way of the clusters' sums.
  if (!asked_for || !device.has_clusters() || kKernelConfigs[tiling.config].on_request) {
    return tiling;
  }
  Tiling clustered = tiling;
  clustered.clusters = true;
  clustered.unit_tiles =
      static_cast<int>(divide_up(tiling.unit_tiles, kBlocksOfCluster)) * kBlocksOfCluster;
  const int resident = max_resident_clusters_backward(s.cell, clustered, device);
  return divide_batch(s, s.directions, resident, clustered) ? clustered : tiling;
}

std::optional<Tiling> wavefront_tiling(const RnnShape& s, Pass pass, CudaDevice& device) {
  if (loop_path() != LoopPath::wavefront || !may_persist(s)) return {};
  if (s.layers < 2 || s.layers > kMostLayers || s.directions > 1) return {};
  // Half of a block's warps multiply the states, the others the output of the layer below.
  const std::vector<size_t> configs = configs_for(2 * s.hidden, device.precision.rnn);
  if (configs.empty()) return {};
  Tiling tiling{};
  tiling.config = configs[0];
  tiling.unit_tiles = static_cast<int>(divide_up(s.hidden, tiling.units()));
  const int resident = pass == Pass::forward
                           ? max_resident_wavefront_forward(s.cell, tiling, device)
                           : max_resident_wavefront_backward(s.cell, tiling, device);
  if (!divide_batch(s, s.layers, resident, tiling)) return {};
  if (bytes_of_step(s, pass, tiling) > INT32_MAX) return {};
  return tiling;
}

}  // namespace fused_rnn::cuda
