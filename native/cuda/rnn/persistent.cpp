#include "cuda/rnn/persistent.h"

#include <cstdint>
#include <cstdlib>
#include <stdexcept>
#include <string>

#include "cells/weights.h"

namespace fused_rnn::cuda {
namespace {

// The path that FUSED_RNN_CUDA_PATH asks for, for tests and comparisons.
enum class LoopPath { best, persistent, wavefront, graph };

LoopPath path_from_environment() {
  const char* value = std::getenv("FUSED_RNN_CUDA_PATH");
  const std::string name = value == nullptr ? "" : value;
  if (name.empty()) return LoopPath::best;
  if (name == "persistent") return LoopPath::persistent;
  if (name == "wavefront") return LoopPath::wavefront;
  if (name == "graph") return LoopPath::graph;
  throw std::runtime_error(
      "FUSED_RNN_CUDA_PATH: expected 'persistent', 'wavefront' or 'graph', got '" + name + "'");
}

LoopPath loop_path() {
  static const LoopPath path = path_from_environment();
  return path;
}

// Whether FUSED_RNN_CUDA_CLUSTERS asks for clusters wherever there can be some. They have not been
// timed.
bool clusters_asked_for() {
  const char* value = std::getenv("FUSED_RNN_CUDA_CLUSTERS");
  const std::string name = value == nullptr ? "" : value;
  if (name.empty() || name == "off") return false;
  if (name == "on") return true;
  throw std::runtime_error("FUSED_RNN_CUDA_CLUSTERS: expected 'on' or 'off', got '" + name + "'");
}

int64_t divide_up(int64_t n, int64_t by) { return (n + by - 1) / by; }

// The kernels for a number of states, in the order in which they are to be tried.
std::vector<size_t> configs_for(int64_t hidden, Fp32Precision precision, LoopPath path) {
  std::vector<size_t> configs;
  const auto add = [&](Fp32Precision of) {
    for (size_t i = 0; i < kKernelConfigCount; ++i) {
      const KernelConfig& config = kKernelConfigs[i];
      if (config.precision == of && hidden <= config.most_states() &&
          (path == LoopPath::persistent || !config.on_request)) {
        configs.push_back(i);
      }
    }
  };
  add(precision);
  // More of them than there are kernels for in bfloat16, in parts of 16, are in TF32 in parts of 8.
  if (precision == Fp32Precision::bf16) add(Fp32Precision::tf32);
  return configs;
}

// Of a cell's gate matrix, or two directions of an output.
constexpr int64_t kMostBlocks = 4;

// Shorter loops are not worth what surrounds the kernel.
constexpr int64_t kFewestSteps = 4;

// What the cache that all blocks share passes on in a step in the time that the products of the
// other ways take: 24 MB on an H200, with its 50 MB. Only that has been measured, so a smaller
// cache is trusted with less, in proportion, and a larger one with no more.
int64_t most_bytes_of_step(int64_t cache_bytes) {
  constexpr int64_t kMostBytes = int64_t{24} << 20, kCacheBytes = int64_t{50} << 20;
  return kMostBytes * std::min(cache_bytes, kCacheBytes) / kCacheBytes;
}

// The blocks of a group read from each other, in a step, the states of all its sequences forward,
// and backward a tagged share of the gradient of every state from every part.
int64_t bytes_of_step(const RnnShape& s, Pass pass, const Tiling& d) {
  const int64_t rows = int64_t{d.groups} * d.row_tiles * kTileRows;
  const int64_t number = pass == Pass::forward ? sizeof(float) : 2 * sizeof(float);
  return s.directions * rows * d.unit_tiles * d.units() * d.sources() * number;
}

int max_resident_blocks(CellKind cell, Pass pass, const Tiling& d, CudaDevice& device) {
  return pass == Pass::forward ? max_resident_blocks_forward(cell, d, device)
                               : max_resident_blocks_backward(cell, d, device);
}

// Groups for the batch of so many loops; false where not even one fits.
bool divide_batch(const RnnShape& s, int64_t loops, int resident, Tiling& d) {
  const int64_t most_groups = resident / (d.unit_tiles * loops);
  if (most_groups <= 0) return false;
  const int64_t batch_tiles = divide_up(s.batch, kTileRows);
  d.row_tiles = static_cast<int>(divide_up(batch_tiles, most_groups));
  d.groups = static_cast<int>(divide_up(batch_tiles, d.row_tiles));
  return true;
}

// The same with the parts in clusters, where they are asked for and there is room. The weights that
// some kernels keep in shared memory are in its way.
Tiling in_clusters(const RnnShape& s, const Tiling& d, CudaDevice& device) {
  static const bool asked_for = clusters_asked_for();
  if (!asked_for || !device.has_clusters() || kKernelConfigs[d.config].on_request) return d;
  Tiling clustered = d;
  clustered.clusters = true;
  clustered.unit_tiles =
      static_cast<int>(divide_up(d.unit_tiles, kBlocksOfCluster)) * kBlocksOfCluster;
  const int resident = max_resident_blocks_backward(s.cell, clustered, device);
  return divide_batch(s, s.directions, resident, clustered) ? clustered : d;
}

// Whether there may be a kernel for such layers.
bool may_persist(const RnnShape& s) {
  // A norm would need a second meeting of all blocks in every step.
  const bool norms = traits_of(s.cell).norms;
  // The kernels count in 32 bits.
  const bool small = s.rows * s.hidden * kMostBlocks <= INT32_MAX;
  return loop_path() != LoopPath::graph && s.proj == 0 && !norms && small;
}

}  // namespace

std::optional<Tiling> persistent_tiling(const RnnShape& s, Pass pass, CudaDevice& device) {
  if (!may_persist(s)) return {};
  Tiling d{};
  bool fits = false;
  for (const size_t config : configs_for(s.hidden, device.precision.rnn, loop_path())) {
    d.config = config;
    d.unit_tiles = static_cast<int>(divide_up(s.hidden, d.units()));
    const int resident = max_resident_blocks(s.cell, pass, d, device);
    if (resident == kRefused) return {};
    fits = divide_batch(s, s.directions, resident, d);
    if (fits) break;
  }
  if (!fits) return {};
  if (bytes_of_step(s, pass, d) > INT32_MAX) return {};
  if (loop_path() == LoopPath::best) {
    int64_t steps = 0;
    while (steps < std::min(s.steps, kFewestSteps) && s.batch_sizes[steps] > 0) ++steps;
    if (steps < kFewestSteps ||
        bytes_of_step(s, pass, d) > most_bytes_of_step(device.cache_bytes())) {
      return {};
    }
  }
  return pass == Pass::backward ? in_clusters(s, d, device) : d;
}

std::optional<Tiling> wavefront_tiling(const RnnShape& s, Pass pass, CudaDevice& device) {
  if (loop_path() != LoopPath::wavefront || !may_persist(s)) return {};
  if (s.layers < 2 || s.layers > kMostLoops || s.directions > 1) return {};
  // Half of a block's warps share the states, the others the output of the layer below.
  const std::vector<size_t> configs = configs_for(2 * s.hidden, device.precision.rnn, loop_path());
  if (configs.empty()) return {};
  Tiling d{};
  d.wavefront = true;
  d.config = configs[0];
  d.unit_tiles = static_cast<int>(divide_up(s.hidden, d.units()));
  if (!divide_batch(s, s.layers, max_resident_blocks(s.cell, pass, d, device), d)) return {};
  if (bytes_of_step(s, pass, d) > INT32_MAX) return {};
  return d;
}

namespace {

bool all_alike(const StepPlan& plan) { return plan[0].active == plan[plan.count() - 1].active; }

}  // namespace

PersistentPlans::PersistentPlans(const StepPlan& first, const StepPlan& second, size_t directions,
                                 CudaDevice& device)
    : steps_(static_cast<size_t>(first.count())),
      memory_(device, all_alike(first) ? 0
                                       : static_cast<int64_t>(directions * steps_ *
                                                              sizeof(StepRows) / sizeof(float))) {
  if (memory_.data() == nullptr) return;
  std::vector<StepRows> steps;
  for (size_t d = 0; d < directions; ++d) {
    const StepPlan& plan = d == 0 ? first : second;
    for (int64_t i = 0; i < plan.count(); ++i)
      steps.push_back({static_cast<int32_t>(plan[i].row), static_cast<int32_t>(plan[i].active)});
  }
  // Pageable memory is read before the call returns.
  check(cudaMemcpyAsync(memory_.data(), steps.data(), steps.size() * sizeof(StepRows),
                        cudaMemcpyHostToDevice, device.stream()),
        "cudaMemcpyAsync");
}

}  // namespace fused_rnn::cuda
