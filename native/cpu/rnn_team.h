// How the threads share the time loop of a recurrent layer, and its packed recurrent weights.
//
// Each direction has a grid of tasks: slices of the batch, each of which walks through time without
// waiting for the others, and within a slice members that share out the columns of every step's
// product and meet at a barrier after it. Slices cost nothing per step, but each core reads all
// recurrent weights; members divide the weights among the cores' caches.
#pragma once

#include <algorithm>
#include <atomic>
#include <vector>

#include "core/context.h"
#include "cpu/rnn_plan.h"
#include "cpu/tile.h"

FUSED_RNN_KERNELS_BEGIN

// Where the members of a slice wait for each other.
class Barrier {
 public:
  void wait(int members, const Context& context) {
    if (members == 1) return;
    const int round = round_.load(std::memory_order_relaxed);
    if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == members) {
      arrived_.store(0, std::memory_order_relaxed);
      round_.store(round + 1, std::memory_order_release);
      return;
    }
    for (int spins = 0; round_.load(std::memory_order_acquire) == round; ++spins) {
      if (spins < 4096) {
        pause_thread();
      } else {
        context.check_stop();
        std::this_thread::yield();
      }
    }
  }

 private:
  alignas(64) std::atomic<int> arrived_{0};
  alignas(64) std::atomic<int> round_{0};
};

using Barriers = std::vector<Barrier>;

struct RnnGrid {
  int slices;   // of the batch
  int members;  // of each slice
  int vectors;  // width of the panels of the recurrent weights

  int per_direction() const { return slices * members; }
};

// Weights of `bytes` are read by every step of every slice.
inline RnnGrid rnn_grid(const RnnShape& s, int gates, int threads) {
  constexpr double kWorthAThread = 1 << 18;
  const double products = static_cast<double>(s.rows) * static_cast<double>(gates * s.hidden) *
                          static_cast<double>(s.out());
  const auto by_work = static_cast<int64_t>(products / kWorthAThread) + 1;
  const int64_t free = std::max<int64_t>(threads / s.directions, 1);
  const int64_t parts = std::min(by_work, free);
  RnnGrid grid{1, 1, kMaxVectors};
  if (parts == 1) return grid;
  // A slice is worth it while its rows fill tiles, and its weights come from a cache of the core.
  constexpr int64_t kCacheBytes = int64_t{3} << 19;
  const int64_t bytes = gates * s.hidden * s.out() * 4;
  const int64_t average = s.rows / s.steps;
  int64_t slices = bytes <= kCacheBytes ? std::min(parts, average / tile_rows(kMaxVectors)) : 1;
  while (slices > 1 && parts % slices != 0) --slices;
  grid.slices = static_cast<int>(std::max<int64_t>(slices, 1));
  const int64_t columns = std::min(s.hidden, s.out());
  grid.members = static_cast<int>(
      std::clamp<int64_t>(parts / grid.slices, 1, std::max<int64_t>(columns / kLanes, 1)));
  // Panels that divide evenly among the members.
  const auto most_columns = [&](int vectors) {
    const int64_t width = vectors * kLanes, panels = (s.hidden + width - 1) / width;
    return (panels + grid.members - 1) / grid.members * width;
  };
  if (most_columns(kMaxVectors - 1) * 21 < most_columns(kMaxVectors) * 20) --grid.vectors;
  return grid;
}

// A member's share of `count` panels.
struct PanelRange {
  int64_t begin, end;
};
inline PanelRange share_of(int64_t count, int member, int members) {
  return {count * member / members, count * (member + 1) / members};
}

FUSED_RNN_KERNELS_END
