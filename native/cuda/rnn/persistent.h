// Time loops by one kernel that stays on the GPU for the whole sequence, with the recurrent weights
// in registers (those that do not fit there in shared memory): nothing is launched between the
// steps, and no weight is read twice. What a step costs is docs/persistent.md's matter.
//
// The sequences of a batch are divided into groups, the units of a layer into parts: a block has
// the gates of one part's units for one group's sequences, and only the blocks of a group wait for
// each other.
#pragma once

#include <optional>

#include "cuda/device/clusters.h"
#include "cuda/rnn/loop.h"

namespace fused_rnn::cuda {

constexpr int kPersistentThreads = 256;
constexpr int kTileRows = 16;  // sequences that are multiplied at once
constexpr int kMostLoops = 8;  // layers, or directions, of a launch

// A block's share of a layer: a part of so many units, and so many times 8 states for each warp.
struct KernelConfig {
  Fp32Precision precision;
  int units, steps;
  // Not known to be faster than the other ways: used where FUSED_RNN_CUDA_PATH asks for it.
  bool on_request = false;
  constexpr int most_states() const { return kPersistentThreads / 32 * 8 * steps; }
};

// All that there are kernels for, of each precision the small ones first. Small parts leave less to
// do to every block, and hold fewer of the weights.
constexpr KernelConfig kKernelConfigs[] = {
    {Fp32Precision::tf32, 16, 4},        {Fp32Precision::tf32, 16, 8},
    {Fp32Precision::tf32, 8, 16},        {Fp32Precision::tf32, 16, 24, true},
    {Fp32Precision::ieee, 16, 4},        {Fp32Precision::ieee, 8, 8},
    {Fp32Precision::bf16, 16, 4},        {Fp32Precision::bf16, 16, 8},
    {Fp32Precision::bf16, 16, 12},       {Fp32Precision::bf16, 16, 16, true},
    {Fp32Precision::bf16, 16, 24, true},
};
constexpr size_t kKernelConfigCount = sizeof kKernelConfigs / sizeof kKernelConfigs[0];

// How a layer, or each of the layers of a wavefront, is divided among the blocks.
struct Tiling {
  size_t config;   // of kKernelConfigs
  int unit_tiles;  // blocks of a group; in clusters some may be without units
  int groups;      // of one direction
  int row_tiles;   // a group has so many times kTileRows sequences
  bool clusters;   // of kBlocksOfCluster unit tiles, which leave one partial sum together: backward
  bool wavefront;
  int units() const { return kKernelConfigs[config].units; }
  // From so many come the shares of a unit's gradient.
  int sources() const { return clusters ? unit_tiles / kBlocksOfCluster : unit_tiles; }
};

// Nothing where a kernel would not fit the GPU, or is known to be slower than the step by step way.
std::optional<Tiling> persistent_tiling(const RnnShape& shape, Pass pass, CudaDevice& device);

void run_persistent(const std::vector<ForwardLoop>& directions, const Tiling& tiling,
                    CudaDevice& device);
void run_persistent(const std::vector<BackwardLoop>& directions, const Tiling& tiling,
                    CudaDevice& device);

// The layers of a call in one launch, the blocks of a layer behind those of the one that feeds it.
// Nothing where a kernel would not fit the GPU, or where it is not asked for.
std::optional<Tiling> wavefront_tiling(const RnnShape& shape, Pass pass, CudaDevice& device);
// In the order in which they run; feeds[i] leads from the layer before to the i-th.
void run_wavefront(const std::vector<ForwardLoop>& layers, const std::vector<Feed>& feeds,
                   const Tiling& tiling, CudaDevice& device);
void run_wavefront(const std::vector<BackwardLoop>& layers, const std::vector<Feed>& feeds,
                   const Tiling& tiling, CudaDevice& device);

// As Step, in half the room.
struct StepRows {
  int32_t row, active;
};

// The steps of the directions in device memory, where they are not all alike.
class PersistentPlans {
 public:
  template <class Loop>
  PersistentPlans(const std::vector<Loop>& loops, CudaDevice& device)
      : PersistentPlans(loops[0].plan, loops.back().plan, loops.size(), device) {}
  // Null for steps of all sequences.
  const StepRows* plan(size_t direction) const {
    return memory_.data() == nullptr
               ? nullptr
               : reinterpret_cast<const StepRows*>(memory_.data()) + direction * steps_;
  }

 private:
  PersistentPlans(const StepPlan& first, const StepPlan& second, size_t directions,
                  CudaDevice& device);

  size_t steps_;
  DeviceScratch memory_;
};

// The number of blocks of the kernel of this tiling that the device holds at once; 0 if there is no
// such kernel, kRefused if the device has refused it.
constexpr int kRefused = -1;
int max_resident_blocks_forward(CellKind cell, const Tiling& tiling, CudaDevice& device);
int max_resident_blocks_backward(CellKind cell, const Tiling& tiling, CudaDevice& device);

}  // namespace fused_rnn::cuda
