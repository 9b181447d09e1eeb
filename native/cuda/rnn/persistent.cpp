// Which layers have their time loop in a persistent kernel, and how they are divided among blocks.
#include "cuda/rnn/persistent.h"

#include <cstdint>
#include <cstdlib>
#include <stdexcept>
#include <string>

#include "cells/weights.h"
#include "cuda/rnn/experimental/experimental.h"

namespace fused_rnn::cuda {
namespace {

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

// The most columns that are counted in a row: of a cell's gate matrix, or of two directions'
// output.
constexpr int64_t kMostBlocks = 4;

// Shorter loops are not worth what surrounds the kernel.
constexpr int64_t kFewestSteps = 4;

// What the second-level cache passes on in a step in the time that the products of a captured graph
// take: 24 MB on an H200, with its 50 MB. Only that has been measured, so a smaller cache is
// trusted with less, in proportion, and a larger one with no more.
int64_t most_bytes_of_step(int64_t cache_bytes) {
  constexpr int64_t kMostBytes = int64_t{24} << 20, kCacheBytes = int64_t{50} << 20;
  return kMostBytes * std::min(cache_bytes, kCacheBytes) / kCacheBytes;
}

int max_resident_blocks(CellKind cell, Pass pass, const Tiling& tiling, CudaDevice& device) {
  return pass == Pass::forward ? max_resident_blocks_forward(cell, tiling, device)
                               : max_resident_blocks_backward(cell, tiling, device);
}

}  // namespace

LoopPath loop_path() {
  static const LoopPath path = path_from_environment();
  return path;
}

bool may_persist(const RnnShape& s) {
  // A norm would need a second exchange between all blocks in every step; the kernels hand no
  // weights to units.
  const bool plain = traits_of(s.cell).plain_steps;
  // The kernels count in 32 bits.
  const bool small = s.rows * s.hidden * kMostBlocks <= INT32_MAX;
  return loop_path() != LoopPath::graph && s.proj == 0 && !s.options && plain && small;
}

std::vector<size_t> configs_for(int64_t hidden, Fp32Precision precision) {
  std::vector<size_t> configs;
  const auto add = [&](Fp32Precision of) {
    for (size_t i = 0; i < kKernelConfigCount; ++i) {
      const KernelConfig& config = kKernelConfigs[i];
      if (config.precision == of && hidden <= config.most_states() &&
          (loop_path() == LoopPath::persistent || !config.on_request)) {
        configs.push_back(i);
      }
    }
  };
  add(precision);
  // Layers too wide for bfloat16's unit tiles of 16 have TF32's of 8.
  if (precision == Fp32Precision::bf16) add(Fp32Precision::tf32);
  return configs;
}

// Forward the blocks of a group read the states of all its sequences, backward a tagged partial sum
// of the gradient of every state from every source.
int64_t bytes_of_step(const RnnShape& s, Pass pass, const Tiling& tiling) {
  const int64_t rows = int64_t{tiling.groups} * tiling.row_tiles * kTileRows;
  const int64_t number = pass == Pass::forward ? sizeof(float) : 2 * sizeof(float);
  return s.directions * rows * tiling.unit_tiles * tiling.units() * tiling.sources() * number;
}

bool divide_batch(const RnnShape& s, int64_t loops, int resident, Tiling& tiling) {
  const int64_t most_groups = resident / (tiling.unit_tiles * loops);
  if (most_groups <= 0) return false;
  const int64_t batch_tiles = divide_up(s.batch, kTileRows);
  tiling.row_tiles = static_cast<int>(divide_up(batch_tiles, most_groups));
  tiling.groups = static_cast<int>(divide_up(batch_tiles, tiling.row_tiles));
  return true;
}

std::optional<Tiling> persistent_tiling(const RnnShape& s, Pass pass, CudaDevice& device) {
  if (!may_persist(s)) return {};
  Tiling tiling{};
  bool fits = false;
  for (const size_t config : configs_for(s.hidden, device.precision.rnn)) {
    tiling.config = config;
    tiling.unit_tiles = static_cast<int>(divide_up(s.hidden, tiling.units()));
    const int resident = max_resident_blocks(s.cell, pass, tiling, device);
    if (resident == kRefused) return {};
    fits = divide_batch(s, s.directions, resident, tiling);
    if (fits) break;
  }
  if (!fits) return {};
  if (bytes_of_step(s, pass, tiling) > INT32_MAX) return {};
  if (loop_path() == LoopPath::best) {
    int64_t steps = 0;
    while (steps < std::min(s.steps, kFewestSteps) && s.batch_sizes[steps] > 0) ++steps;
    if (steps < kFewestSteps ||
        bytes_of_step(s, pass, tiling) > most_bytes_of_step(device.cache_bytes())) {
      return {};
    }
  }
  return pass == Pass::backward ? in_clusters(s, tiling, device) : tiling;
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
