// How the loops over time of elementwise_rnn.cpp go through packed sequences, and share them among
// threads: by blocks of units of a sequence, the blocks of one sequence before those of the next. A
// thread has some of them in a row and takes all of these at a step before it goes on to the next.
#pragma once

#include <vector>

#include "cpu/isa.h"
#include "cpu/vector.h"

FUSED_RNN_KERNELS_BEGIN

namespace {

constexpr int64_t kUnits = 64;  // of a block
constexpr int64_t kChunk =
    256;  // steps; linear cells are cut there, however many threads there are
constexpr int64_t kGrain = 1 << 14;  // numbers that are worth a thread

struct Walk {
  const ElementwiseShape& shape;
  std::vector<int64_t> first;  // row of each step
  int64_t blocks;              // of a sequence
  bool backwards;              // from the last step to the first

  Walk(const ElementwiseShape& shape, bool backwards)
      : shape(shape),
        first(static_cast<size_t>(shape.steps)),
        blocks((shape.hidden + kUnits - 1) / kUnits),
        backwards(backwards) {
    int64_t row = 0;
    for (size_t t = 0; t < first.size(); ++t) {
      first[t] = row;
      row += shape.batch_sizes[t];
    }
  }

  // The step that comes i-th.
  int64_t step(int64_t i) const { return backwards ? shape.steps - 1 - i : i; }
  int64_t row(int64_t t) const { return first[static_cast<size_t>(t)]; }
  int64_t active(int64_t t) const { return shape.batch_sizes[t]; }
  int64_t chunks() const { return (shape.steps + kChunk - 1) / kChunk; }
  int64_t chunk_end(int64_t chunk) const {
    const int64_t end = (chunk + 1) * kChunk;
    return end < shape.steps ? end : shape.steps;
  }
  // The state of sequence n before step t, in the layer's own direction.
  const float* before(const float* states, const float* state0, int64_t t, int64_t n) const {
    const int64_t earlier = shape.reverse ? t + 1 : t - 1;
    if (earlier >= 0 && earlier < shape.steps && n < active(earlier)) {
      return states + (row(earlier) + n) * shape.hidden;
    }
    return state0 != nullptr ? state0 + n * shape.hidden : nullptr;
  }

  // f(n, from, to): the units that the blocks [begin, end) have of each of the first sequences.
  template <class F>
  void each(int64_t begin, int64_t end, int64_t sequences, F f) const {
    for (int64_t n = begin / blocks; n < sequences && n * blocks < end; ++n) {
      const int64_t from = begin > n * blocks ? begin - n * blocks : 0;
      const int64_t to = (end - n * blocks) * kUnits;
      f(n, from * kUnits, to < shape.hidden ? to : shape.hidden);
    }
  }
};

// to [N, H] = from or, null, zeros.
inline void start_state(const Walk& walk, int64_t begin, int64_t end, float* to,
                        const float* from) {
  const int64_t hidden = walk.shape.hidden;
  walk.each(begin, end, walk.shape.batch, [&](int64_t n, int64_t u, int64_t u_end) {
    copy_or_zero(to + n * hidden + u, from != nullptr ? from + n * hidden + u : nullptr, u_end - u);
  });
}

// The same units of several rows, H apart.
template <int count, class Read>
void read_rows(Vec (&to)[count], const float* from, int64_t hidden, Read read) {
  for (int k = 0; k < count; ++k) to[k] = read(from + k * hidden);
}

}  // namespace

FUSED_RNN_KERNELS_END
