// How the blocks of a cluster add up what they leave for others (persistent_backward.h). For .cu
// files.
#pragma once

#include "cuda/device/clusters.h"
#include "cuda/rnn/persistent_kernels.h"

namespace fused_rnn::cuda {

// The shared memory of a block: two tiles of the gradients of all units.
inline size_t shared_of_cluster(const Tiling& tiling) {
  return size_t{2} * kTileRows * static_cast<size_t>(tiling.unit_tiles * tiling.units()) *
         sizeof(float);
}

// Where a cluster's blocks add up their shares of a tile: a block the shares for those parts whose
// number has its rank as the rest. They lie as multiply_gates() gives them, so that a warp reads
// and writes without gaps.
template <class Config>
class ClusterShares {
 public:
  // Blocks of a group, of which `parts` have units. It arrives: there is a wait() before the first
  // give().
  __device__ ClusterShares(int blocks, int parts, const WarpLane& lane)
      : items_(blocks / kBlocks * kOfPart), parts_(parts), rank_(cluster_rank()), lane_(lane) {
    FUSED_RNN_DYNAMIC_SHARED(float2, memory);
    memory_ = memory;
    arrive();
  }
  // Of tile `columns` of the units.
  __device__ void give(int columns, int row_of_tile, float x, float y) const {
    const int part = columns / kTiles, item = part / kBlocks * kOfPart + columns % kTiles * 2;
    store_at_rank(at(rank_, item + row_of_tile / 8), part % kBlocks, make_float2(x, y));
  }
  // By all threads of all blocks, between give() and take(). One barrier for each tile is enough: a
  // buffer is written again after the next one, to which all come when they have read it. As nobody
  // writes after the last one, every block may end then.
  __device__ void arrive() const { cluster_arrive(); }
  __device__ void wait() const { cluster_wait(); }
  // The sums, in a fixed order. store(part, row, pair of units, x, y)
  template <class Store>
  __device__ void take(Store store) {
    for (int item = lane_.warp; item < items_; item += Config::kWarps) {
      const int part = item / kOfPart * kBlocks + rank_;
      if (part >= parts_) break;
      float2 sum = make_float2(0, 0);
#pragma unroll
      for (int rank = 0; rank < kBlocks; ++rank) {
        const float2 share = *at(rank, item);
        sum.x += share.x;
        sum.y += share.y;
      }
      store(part, item % 2 * 8 + lane_.g, item / 2 % kTiles * 4 + lane_.t, sum.x, sum.y);
    }
    turn_ ^= 1;
  }

 private:
  static constexpr int kBlocks = kBlocksOfCluster;
  // Tiles of 8 columns of a part, and halves of them, of 8 rows.
  static constexpr int kTiles = Config::kUnits / 8, kOfPart = 2 * kTiles;
  __device__ float2* at(int rank, int item) const {
    return memory_ + ((turn_ * kBlocks + rank) * items_ + item) * kWarp + lane_.g * 4 + lane_.t;
  }

  float2* memory_;  // [2, blocks of the cluster, items of two numbers a lane, kWarp]
  int items_, parts_, rank_;
  int turn_ = 0;
  const WarpLane& lane_;
};

}  // namespace fused_rnn::cuda
