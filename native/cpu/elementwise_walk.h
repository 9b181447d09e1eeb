// How the loops over time of elementwise_rnn.cpp go through packed sequences, and share them among
// threads: by blocks of units of a sequence, the blocks of one sequence before those of the next. A
// thread has some of them in a row and takes all of these at a step before it goes on to the next.
#pragma once

#include <type_traits>
#include <utility>
#include <vector>

#include "cpu/isa.h"
#include "cpu/vector.h"

FUSED_RNN_KERNELS_BEGIN

namespace {

constexpr int64_t kUnits = 64;  // of a block
// Steps. Linear cells are cut there, and sums over steps settled, however many threads there are.
constexpr int64_t kChunk = 256;
constexpr int64_t kAhead = 2;        // rows that backward fetches early: steps go back, rows forth
constexpr int64_t kGrain = 1 << 14;  // numbers that are worth a thread

// Rows of a matrix from row `first` on.
template <class T>
struct Rows {
  T* data;
  int64_t first, width;

  T* of(int64_t row) const { return data + (row - first) * width; }
};

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

  int64_t chunk_of(int64_t i) const { return i / kChunk; }

  // The rows of the steps that come `begin`-th to before `end`-th.
  std::pair<int64_t, int64_t> rows(int64_t begin, int64_t end) const {
    const int64_t a = step(begin), b = step(end - 1);
    const int64_t low = a < b ? a : b, high = a < b ? b : a;
    return {row(low), row(high) + active(high)};
  }
  // Where to stop that began with step `begin`, for at most so many rows, or one step: no later than
  // its chunk.
  int64_t stop(int64_t begin, int64_t most) const {
    const int64_t last = chunk_end(chunk_of(begin));
    int64_t rows = active(step(begin)), end = begin + 1;
    while (end < last && rows + active(step(end)) <= most) rows += active(step(end++));
    return end;
  }

  // f(begin, end): some of the blocks of so many sequences, by threads, for `steps` steps.
  template <class F>
  void share(int64_t sequences, int64_t steps, Context& context, F f) const {
    context.check_stop();
    context.pool.parallel_for(sequences * blocks, kGrain / (steps * kUnits) + 1, f);
  }

  // f(t, row, n, from, to): the units that the blocks [first, last) have of the rows of some steps, in
  // the order of the walk.
  template <class F>
  void each_step(int64_t begin, int64_t end, int64_t first, int64_t last, F f) const {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t t = step(i), at = row(t);
      each(first, last, active(t),
           [&](int64_t n, int64_t from, int64_t to) { f(t, at + n, n, from, to); });
    }
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

// What a forward pass has of them: it may replace them.
template <bool activated>
using PreActivation = std::conditional_t<activated, float, const float>;

// What Cell::activate() has changed of a row's units.
template <class Cell, class Write>
void write_changed(float* to, const Vec (&s)[Cell::kBlocks], int64_t hidden, Write write) {
  for (int k = Cell::kFirstActivated; k < Cell::kFirstActivated + 2; ++k) {
    write(to + k * hidden, s[k]);
  }
}

// The same units of several rows, H apart.
template <int count, class Read>
void read_rows(Vec (&to)[count], const float* from, int64_t hidden, Read read) {
  for (int k = 0; k < count; ++k) to[k] = read(from + k * hidden);
}

}  // namespace

FUSED_RNN_KERNELS_END
