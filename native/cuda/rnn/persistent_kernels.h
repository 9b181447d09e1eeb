// What the persistent kernels share: sizes, weights in registers, who owns what, the steps. For .cu
// files.
#pragma once

#include "cuda/rnn/mma.h"
#include "cuda/rnn/persistent.h"
#include "cuda/rnn/step_kernels.h"

namespace fused_rnn::cuda {

// A KernelConfig for a cell, as constants. The gates of a block's units are kColumns columns of the
// recurrent product.
template <class Cell, size_t index>
struct ConfigOf {
  static constexpr Fp32Precision kPrecision = kKernelConfigs[index].precision;
  static constexpr int kUnits = kKernelConfigs[index].units, kSteps = kKernelConfigs[index].steps;
  static constexpr int kTerms = cuda::kTerms<kPrecision>, kOfWord = cuda::kOfWord<kPrecision>;
  static constexpr int kWarps = kPersistentThreads / kWarp;
  static constexpr int kColumns = Cell::kGates * kUnits;
  static constexpr int kStates = kSteps * 8;  // that a warp multiplies
  // Tiles of 8 columns, of 8 words of columns, of 8 words of states.
  static constexpr int kColumnTiles = kColumns / 8, kColumnWordTiles = kColumnTiles / kOfWord,
                       kStateWordTiles = kSteps / kOfWord;
  static constexpr int kElements = kTileRows * kUnits;
  // Of a warp's weights, tiles of 8 words by 8 columns: those that fit a thread's registers beside
  // the sums, and what is left, in shared memory. Longer loops take more registers, too.
  static constexpr int kWeightTiles = kSteps * kColumnTiles / kOfWord;
  static constexpr int kMostHeld = kUnits * kSteps <= 192 ? 64 / kTerms : kOfWord == 1 ? 48 : 40;
  static constexpr int kHeldTiles = std::min(kWeightTiles, kMostHeld);
  static constexpr size_t kSharedBytes =
      size_t{kWeightTiles - kHeldTiles} * kPersistentThreads * kTerms * 2 * sizeof(uint32_t);
  // More than the largest GPUs have, beside forward's sums.
  static constexpr bool kTooLarge =
      kSharedBytes + sizeof(float) * kWarps * kTileRows * (kColumns + kUnits) > size_t{227} << 10;
  static_assert(kColumns % (8 * kOfWord) == 0 && kSteps % 2 == 0 &&
                kPersistentThreads % kElements == 0);
};

// A lane's words of its warp's weights, by tile: kInner tiles beside each other.
template <class Config, int kInner>
class Weights {
 public:
  using Tile = uint32_t[Config::kTerms][2];
  __device__ Weights() {
    if constexpr (Config::kSharedBytes > 0) {
      FUSED_RNN_DYNAMIC_SHARED(Tile, tiles);
      shared_ = tiles + threadIdx.x;
    }
  }
  // No other thread reads them. `outer` and `inner` are known where loops are unrolled.
  __device__ Tile& operator()(int outer, int inner) {
    const int tile = outer * kInner + inner;
    return tile < Config::kHeldTiles ? held_[tile]
                                     : shared_[(tile - Config::kHeldTiles) * kPersistentThreads];
  }

 private:
  Tile held_[Config::kHeldTiles];
  Tile* shared_ = nullptr;
};

// f(index of kKernelConfigs, ConfigOf) for each of them.
template <class Cell, class F, size_t... index>
void for_each_config(F f, std::index_sequence<index...>) {
  const auto call = [&](auto config, size_t number) {
    if constexpr (!decltype(config)::kTooLarge) f(number, config);
  };
  (call(ConfigOf<Cell, index>{}, index), ...);
}
template <class Cell, class F>
void for_each_config(F f) {
  for_each_config<Cell>(f, std::make_index_sequence<kKernelConfigCount>{});
}

// A kernel, or null, and the dynamic shared memory of its launch.
template <class Arguments>
struct PersistentKernel {
  void (*kernel)(Arguments) = nullptr;
  size_t shared = 0;
};

template <class Arguments>
int max_resident_blocks(const PersistentKernel<Arguments>& loop, CudaDevice& device) {
  const auto kernel = loop.kernel;
  if (kernel == nullptr) return 0;
  if (device.refused.contains(reinterpret_cast<const void*>(kernel))) return kRefused;
  if (loop.shared > 0 && cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                              static_cast<int>(loop.shared)) != cudaSuccess) {
    cudaGetLastError();  // a smaller GPU
    return 0;
  }
  int blocks = 0;
  check(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, kernel, kPersistentThreads,
                                                      loop.shared),
        "cudaOccupancyMaxActiveBlocksPerMultiprocessor");
  return blocks * device.multiprocessors();
}

template <class Arguments>
void launch_persistent(const PersistentKernel<Arguments>& loop, dim3 blocks, cudaStream_t stream,
                       const Arguments& a) {
  launch_together(loop.kernel, blocks, dim3(kPersistentThreads), loop.shared, stream, a);
}

inline dim3 blocks_of(size_t loops, const Tiling& tiling) {
  return dim3(static_cast<unsigned>(static_cast<int>(loops) * tiling.groups * tiling.unit_tiles));
}

// What a block owns for the whole launch: all gates of the units [first_unit, first_unit + units)
// of one direction, or layer, for the sequences [first_row, first_row + most_rows) of the batch.
struct BlockTile {
  int loop;  // the direction or layer
  int group, unit_tile;
  int first_row, most_rows;  // of the group
  int first_unit;

  __device__ BlockTile(int unit_tiles, int groups, int row_tiles, int units) {
    const int index = static_cast<int>(blockIdx.x);
    loop = index / (groups * unit_tiles);
    group = index / unit_tiles % groups;
    unit_tile = index % unit_tiles;
    most_rows = row_tiles * kTileRows;
    first_row = group * most_rows;
    first_unit = unit_tile * units;
  }
  // How many sequences of the group take part in a step.
  __device__ int rows_of(const StepRows& step) const {
    return min(max(step.active - first_row, 0), most_rows);
  }
};

// A thread's warp, and its lane as the tensor cores' tiles number it: mma.h's g and t.
struct WarpLane {
  int warp, g, t;
  __device__ WarpLane()
      : warp(static_cast<int>(threadIdx.x) / kWarp),
        g(static_cast<int>(threadIdx.x) % kWarp / 4),
        t(static_cast<int>(threadIdx.x) % 4) {}
};

// row[k, k + 4) as it is now; zeros from `width` on. `fours`: all rows begin at a multiple of 16
// bytes, so that one access of 16 bytes reads them.
__device__ inline float4 poll_four(const float* row, int k, int width, bool fours) {
  if (fours) return poll(reinterpret_cast<const float4*>(row + k), k < width);
  float x[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) x[i] = poll(row + k + i, k + i < width);
  return make_float4(x[0], x[1], x[2], x[3]);
}

// gates[rows, B*H]: row `row`'s B numbers of one unit.
template <class Cell>
__device__ __forceinline__ void store_gates(float* gates, int hidden, int row, int unit,
                                            const float (&s)[Cell::kBlocks]) {
  float* to = gates + row * Cell::kBlocks * hidden + unit;
#pragma unroll
  for (int b = 0; b < Cell::kBlocks; ++b) to[b * hidden] = s[b];
}

// The steps of a direction, in the order that forward takes them.
struct Steps {
  const StepRows* plan;  // null: all are of `batch` sequences
  int count, batch;
  bool reverse;
  __device__ StepRows operator[](int i) const {
    if (i < 0 || i >= count) return {0, 0};
    if (plan != nullptr) return plan[i];
    return {(reverse ? count - 1 - i : i) * batch, batch};
  }
};

}  // namespace fused_rnn::cuda
