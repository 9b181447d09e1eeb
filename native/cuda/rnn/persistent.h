// A layer's time loop as one kernel that stays on the GPU for the whole sequence ("persistent"),
// with the recurrent weights in registers (those that do not fit there in shared memory): nothing
// is launched between the steps, and no weight is read twice. docs/persistent.md has what a step
// costs.
//
// The sequences of a batch are divided into groups, the units of a layer into unit tiles. A block
// owns all gates of one unit tile for one group's sequences, and only the blocks of a group wait
// for each other.
#pragma once

#include <optional>

#include "cuda/device/clusters.h"
#include "cuda/rnn/loop.h"

namespace fused_rnn::cuda {

constexpr int kPersistentThreads = 256;
constexpr int kTileRows = 16;  // sequences that are multiplied at once

// ---- What kernels there are ---------------------------------------------------------------------

// The sizes that a kernel is compiled for.
struct KernelConfig {
  Fp32Precision precision;
  int units;  // of a block's unit tile
  int steps;  // of 8 states: each of a block's 8 warps multiplies 8 * steps states
  // Used only where FUSED_RNN_CUDA_PATH=persistent asks for it: it has never run on hardware.
  bool on_request = false;
  constexpr int most_states() const { return kPersistentThreads / 32 * 8 * steps; }
};

// For each precision the small ones first. A small unit tile leaves less work to every block, and
// holds fewer of the weights.
constexpr KernelConfig kKernelConfigs[] = {
    {Fp32Precision::tf32, 16, 4},        {Fp32Precision::tf32, 16, 8},
    {Fp32Precision::tf32, 8, 16},        {Fp32Precision::tf32, 16, 24, true},
    {Fp32Precision::ieee, 16, 4},        {Fp32Precision::ieee, 8, 8},
    {Fp32Precision::bf16, 16, 4},        {Fp32Precision::bf16, 16, 8},
    {Fp32Precision::bf16, 16, 12},       {Fp32Precision::bf16, 16, 16, true},
    {Fp32Precision::bf16, 16, 24, true},
};
constexpr size_t kKernelConfigCount = sizeof kKernelConfigs / sizeof kKernelConfigs[0];

// How a layer is divided among the blocks of a launch.
struct Tiling {
  size_t config;          // of kKernelConfigs
  int unit_tiles;         // blocks of a group; in clusters some may be without units
  int groups;             // of one direction
  int row_tiles;          // a group has row_tiles * kTileRows sequences
  bool clusters = false;  // experimental/clusters_backward.cu
  int units() const { return kKernelConfigs[config].units; }
  // How many partial sums of one unit's gradient there are.
  int sources() const { return clusters ? unit_tiles / kBlocksOfCluster : unit_tiles; }
};

// ---- Where they are used: persistent.cpp --------------------------------------------------------

// The path that FUSED_RNN_CUDA_PATH asks for, for tests and comparisons.
enum class LoopPath { best, persistent, wavefront, graph };
LoopPath loop_path();

// Nothing where no kernel fits the GPU, or where the captured graph is known to be faster.
std::optional<Tiling> persistent_tiling(const RnnShape& shape, Pass pass, CudaDevice& device);

// Pieces of that choice:
// Whether there may be a kernel for such layers at all.
bool may_persist(const RnnShape& shape);
// The kernels for a number of states, in the order in which they are to be tried.
std::vector<size_t> configs_for(int64_t hidden, Fp32Precision precision);
// Sets the groups for the batch of some loops; false where not even one fits `resident` blocks.
bool divide_batch(const RnnShape& shape, int64_t loops, int resident, Tiling& tiling);
// What the blocks of all groups read from each other in a step.
int64_t bytes_of_step(const RnnShape& shape, Pass pass, const Tiling& tiling);
inline int64_t divide_up(int64_t n, int64_t by) { return (n + by - 1) / by; }

// ---- Launches -----------------------------------------------------------------------------------

// How many blocks of a tiling's kernel the device holds at once; 0 if there is no such kernel,
// kRefused if the device has refused it.
constexpr int kRefused = -1;
int max_resident_blocks_forward(CellKind cell, const Tiling& tiling, CudaDevice& device);
int max_resident_blocks_backward(CellKind cell, const Tiling& tiling, CudaDevice& device);

void run_persistent(const std::vector<ForwardLoop>& directions, const Tiling& tiling,
                    CudaDevice& device);
void run_persistent(const std::vector<BackwardLoop>& directions, const Tiling& tiling,
                    CudaDevice& device);

// As Step, in 32 bits.
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

}  // namespace fused_rnn::cuda
