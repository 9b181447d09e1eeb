// How the blocks of a cluster add up their partial sums before they leave them for the other
// clusters (clusters_backward.cu). For .cu files.
#pragma once

#include "cuda/device/clusters.h"
#include "cuda/rnn/persistent_kernels.h"

namespace fused_rnn::cuda {

// The shared memory of a block: two tiles of the gradients of all units.
inline size_t shared_of_cluster(const Tiling& tiling) {
  return size_t{2} * kTileRows * static_cast<size_t>(tiling.unit_tiles * tiling.units()) *
         sizeof(float);
}

// A block adds up, for a tile of rows, the partial sums of all blocks of the cluster for those unit
// tiles whose number, modulo kBlocksOfCluster, is its rank. They lie as multiply_gates() gives
// them, so that a warp reads and writes without gaps.
template <class Config>
class ClusterSums {
 public:
  // Of a group's blocks those of the first `unit_tiles` have units. It arrives: there has to be a
  // wait() before the first give().
  __device__ ClusterSums(int blocks, int unit_tiles, const WarpLane& lane)
      : items_(blocks / kBlocks * kOfTile),
        unit_tiles_(unit_tiles),
        rank_(cluster_rank()),
        lane_(lane) {
    FUSED_RNN_DYNAMIC_SHARED(float2, memory);
    memory_ = memory;
    arrive();
  }
  // `columns`: the tile of 8 units, of the layer.
  __device__ void give(int columns, int row_of_tile, float x, float y) const {
    const int unit_tile = columns / kColumns,
              item = unit_tile / kBlocks * kOfTile + columns % kColumns * 2;
    store_at_rank(at(rank_, item + row_of_tile / 8), unit_tile % kBlocks, make_float2(x, y));
  }
  // By all threads of all blocks, between give() and take(). One barrier for each tile of rows is
  // enough: a buffer is written again after the next one, to which all come when they have read it.
  // As nobody writes after the last one, every block may end then.
  __device__ void arrive() const { cluster_arrive(); }
  __device__ void wait() const { cluster_wait(); }
  // The sums, in a fixed order. store(unit tile, row, pair of units, x, y)
  template <class Store>
  __device__ void take(Store store) {
    for (int item = lane_.warp; item < items_; item += Config::kWarps) {
      const int unit_tile = item / kOfTile * kBlocks + rank_;
      if (unit_tile >= unit_tiles_) break;
      float2 sum = make_float2(0, 0);
#pragma unroll
      for (int rank = 0; rank < kBlocks; ++rank) {
        const float2 partial = *at(rank, item);
        sum.x += partial.x;
        sum.y += partial.y;
      }
      store(unit_tile, item % 2 * 8 + lane_.g, item / 2 % kColumns * 4 + lane_.t, sum.x, sum.y);
    }
    turn_ ^= 1;
  }

 private:
  static constexpr int kBlocks = kBlocksOfCluster;
  // Of a unit tile: tiles of 8 columns, and halves of them, of 8 rows.
  static constexpr int kColumns = Config::kUnits / 8, kOfTile = 2 * kColumns;
  __device__ float2* at(int rank, int item) const {
    return memory_ + ((turn_ * kBlocks + rank) * items_ + item) * kWarp + lane_.g * 4 + lane_.t;
  }

  float2* memory_;  // [2, blocks of the cluster, items of two numbers a lane, kWarp]
  int items_, unit_tiles_, rank_;
  int turn_ = 0;
  const WarpLane& lane_;
};

}  // namespace fused_rnn::cuda
