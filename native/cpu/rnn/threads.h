// How the threads share the time loop of a recurrent layer, and its packed recurrent weights.
//
// Each direction has a grid of tasks: slices of the batch, each of which walks through time without
// waiting for the others, and for each slice a group of threads that share out the columns of every
// step's product and meet at a barrier after it. Slices cost nothing per step, but each core reads
// all recurrent weights; the threads of a group divide the weights among the cores' caches.
#pragma once

#include <algorithm>
#include <vector>

#include "core/barrier.h"
#include "cpu/rnn/workspace.h"
#include "cpu/tile.h"

FUSED_RNN_KERNELS_BEGIN

// Where the threads of a slice wait for each other.
using Barriers = std::vector<Barrier>;

struct RnnGrid {
  int slices;   // of the batch
  int threads;  // of each slice
  int vectors;  // width of the panels of the recurrent weights

  int per_direction() const { return slices * threads; }
};

// `weight_bytes`: of a weight; with one, products are four times as fast.
inline RnnGrid rnn_grid(const RnnShape& s, int gates, int pool_threads, int weight_bytes = 4) {
  const double kWorthAThread = (1 << 18) * 4 / weight_bytes;
  const double products = static_cast<double>(s.rows) * static_cast<double>(gates * s.hidden) *
                          static_cast<double>(s.out());
  const auto by_work = static_cast<int64_t>(products / kWorthAThread) + 1;
  const int64_t free = std::max<int64_t>(pool_threads / s.directions, 1);
  const int64_t parts = std::min(by_work, free);
  // A slice is worth it while its rows fill tiles, and its weights come from a cache of the core.
  constexpr int64_t kCacheBytes = int64_t{3} << 19;
  const int64_t bytes = gates * s.hidden * s.out() * weight_bytes;
  const int64_t average = s.rows / s.steps;
  int64_t slices = bytes <= kCacheBytes ? std::min(parts, average / tile_rows(kMaxVectors)) : 1;
  while (slices > 1 && parts % slices != 0) --slices;
  slices = std::max<int64_t>(slices, 1);
  // The threads of a slice meet once a step, which takes as long as some ten thousand
  // products of one of them.
  const int64_t kWorthABarrier = (int64_t{1} << 15) * 4 / weight_bytes;
  const int64_t step = average / slices * gates * s.hidden * s.out();
  const int64_t columns = std::min(s.hidden, s.out());
  const int64_t threads = std::clamp<int64_t>(
      parts / slices, 1, std::max<int64_t>(std::min(columns / kLanes, step / kWorthABarrier), 1));
  RnnGrid grid{static_cast<int>(slices), static_cast<int>(threads), kMaxVectors};
  grid.vectors = best_vectors(s.hidden / threads, average / slices);
  // Panels that divide evenly among the threads.
  const auto most_columns = [&](int vectors) {
    const int64_t width = vectors * kLanes, panels = (s.hidden + width - 1) / width;
    return (panels + threads - 1) / threads * width;
  };
  if (grid.vectors > 1 && most_columns(grid.vectors - 1) * 21 < most_columns(grid.vectors) * 20) {
    --grid.vectors;
  }
  return grid;
}

// The same for int8 weights, whose panels are of 16 units: some of them at once, evenly shared.
inline int int8_vectors(const RnnShape& s, int threads) {
  const int64_t panels = (s.hidden + 15) / 16, most = (panels + threads - 1) / threads;
  return static_cast<int>(cut_evenly(most, 4) * (16 / kLanes));
}

// How many sequences go through a step together: all of them, for the weights to be read once, or,
// where the weights stay in the nearest cache anyway, so few that their gates do too.
inline int64_t rows_at_once(int64_t weight_bytes) {
  return weight_bytes <= (int64_t{192} << 10) ? 48 : INT64_MAX;
}

// Whether the products of a layer are rounded to bfloat16 where that is asked for: with few
// sequences rounding and packing cost what the products save.
inline bool rounds_products(const RnnShape& s, bool bf16) { return bf16 && s.batch > kFewRows; }

struct PanelRange {
  int64_t begin, end;
};

// The threads that walk through time together with one slice of the batch, as one of them sees it.
struct ThreadGroup {
  int thread;   // this one, in [0, threads)
  int threads;  // of the group
  Barrier& barrier;

  // Until all threads of the group have come here.
  void wait(const Context& context) const { barrier.wait(threads, context); }
  // Thread `t`'s share of `count` panels.
  PanelRange share(int64_t count, int t) const {
    return {count * t / threads, count * (t + 1) / threads};
  }
  PanelRange share(int64_t count) const { return share(count, thread); }
};

// A range of sequences that one thread takes through every step.
struct BatchSlice {
  int64_t begin;
  int64_t end;

  // Of the `active` sequences of a step, how many are in this slice.
  int64_t count(int64_t active) const {
    return std::clamp<int64_t>(active - begin, 0, end - begin);
  }
};

// Slice `index` of `count`, cut so that each has about the same number of rows: with sequences of
// unequal lengths the longer ones come first.
inline BatchSlice batch_slice(const RnnShape& s, int64_t index, int64_t count) {
  // Rows of the sequences before n: sum over t of min(batch_sizes[t], n).
  const auto rows_before = [&](int64_t n) {
    int64_t rows = 0;
    for (int64_t t = 0; t < s.steps; ++t) rows += std::min<int64_t>(s.batch_sizes[t], n);
    return rows;
  };
  const auto cut = [&](int64_t i) -> int64_t {
    if (i == 0) return 0;
    if (i == count) return s.batch;
    int64_t low = 0, high = s.batch;
    while (low < high) {
      const int64_t middle = (low + high) / 2;
      if (rows_before(middle) * count < s.rows * i) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    return low;
  };
  return {cut(index), cut(index + 1)};
}

FUSED_RNN_KERNELS_END
