// Linear cells over time (cells/elementwise.h). Time is cut into chunks of kChunk steps. What a chunk
// does to the state before it is one factor and one number to add, A and B, so that threads may share
// chunks as well: they find A and B of all chunks, then the state before each chunk, then the steps of
// each. Where there are blocks of units enough for all threads, each takes its blocks chunk after
// chunk and finds A and B as it goes. The state before a chunk is the same in both ways.
//
// Of a chunk in which the state is reset A is 0, and B alone is what is behind it: a NaN before is gone.
#pragma once

#include "cells/elementwise.h"
#include "cpu/elementwise_walk.h"

FUSED_RNN_KERNELS_BEGIN

namespace {

// What a chunk does to states, [N, H] each.
struct Effect {
  float *factor, *add;
};

inline void start_effect(const Walk& walk, int64_t begin, int64_t end, const Effect& effect) {
  const int64_t hidden = walk.shape.hidden;
  walk.each(begin, end, walk.shape.batch, [&](int64_t n, int64_t from, int64_t to) {
    for (int64_t u = n * hidden + from; u < n * hidden + to; ++u) {
      effect.factor[u] = 1;
      effect.add[u] = 0;
    }
  });
}

// The state behind a chunk from the one before it.
inline void apply_effect(const Effect& effect, const float* before, float* behind, int64_t at,
                         int64_t count) {
  for (int64_t u = at; u < at + count; ++u) {
    behind[u] = effect.factor[u] * before[u] + effect.add[u];
  }
}

// A row's reset: what was before does not matter. Either may be null.
inline void clear(int64_t at, int64_t count, float* states, const Effect* effect) {
  if (states != nullptr) copy_or_zero(states + at, nullptr, count);
  if (effect == nullptr) return;
  copy_or_zero(effect->factor + at, nullptr, count);
  copy_or_zero(effect->add + at, nullptr, count);
}

// Whether the walk comes to more steps of sequence n behind a chunk.
inline bool goes_on(const Walk& walk, int64_t chunk, int64_t n) {
  if (chunk + 1 == walk.chunks()) return false;
  // Backwards there are never fewer sequences than before.
  return walk.backwards || n < walk.active(walk.step((chunk + 1) * kChunk));
}

// The chunks of a walk: `state` [N, H], which holds what is before the first one, becomes what is
// behind each sequence.
class ChunkScan {
 public:
  // reset: as of ElementwiseInputs.
  ChunkScan(const Walk& walk, const uint8_t* reset, float* state, Context& context)
      : walk_(walk),
        reset_(reset),
        state_(state),
        context_(context),
        size_(walk.shape.batch * walk.shape.hidden),
        tasks_(walk.shape.batch * walk.blocks),
        by_time_(walk.chunks() > 1 && 2 * tasks_ <= context.pool.threads()),
        scratch_(walk.chunks() == 1 ? 0
                 : by_time_         ? 2 * walk.chunks() * size_
                                    : 3 * size_) {}

  // Whether threads share chunks, so that run() takes all steps in one call only.
  bool at_once() const { return by_time_; }

  // f(begin, end, first, last, state, effect): what steps [begin, end) of a chunk do to the blocks
  // [first, last), from state [N, H], which f changes, and to their effect; either may be null: not
  // wanted.
  template <class F>
  void run(int64_t begin, int64_t end, F f) {
    if (by_time_) return run_by_time(f);
    const int64_t chunk = walk_.chunk_of(begin);
    const bool last_chunk = chunk == walk_.chunks() - 1;
    const Effect effect{scratch_.data(), scratch_.data() + size_};
    float* const before = scratch_.data() + 2 * size_;
    walk_.share(walk_.shape.batch, end - begin, context_, [&](int64_t first, int64_t last) {
      if (last_chunk) return f(begin, end, first, last, state_, nullptr);
      if (begin == chunk * kChunk) {
        start_state(walk_, first, last, before, state_);
        start_effect(walk_, first, last, effect);
      }
      f(begin, end, first, last, state_, &effect);
      if (end < walk_.chunk_end(chunk)) return;
      walk_.each(first, last, walk_.shape.batch, [&](int64_t n, int64_t from, int64_t to) {
        if (!goes_on(walk_, chunk, n)) return;
        pass(chunk, n, effect, before, state_, from, to);
      });
    });
  }

 private:
  // The states of units of sequence n behind a chunk.
  void pass(int64_t chunk, int64_t n, const Effect& effect, const float* before, float* behind,
            int64_t from, int64_t to) const {
    const int64_t at = n * walk_.shape.hidden + from;
    if (resets(chunk, n)) return copy_floats(behind + at, effect.add + at, to - from);
    apply_effect(effect, before, behind, at, to - from);
  }
  bool resets(int64_t chunk, int64_t n) const {
    if (reset_ == nullptr) return false;
    for (int64_t i = chunk * kChunk; i < walk_.chunk_end(chunk); ++i) {
      const int64_t t = walk_.step(i);
      if (n < walk_.active(t) && reset_[walk_.row(t) + n] != 0) return true;
    }
    return false;
  }

  // Chunk k's, of a scan by time.
  Effect effect_of(int64_t chunk) const {
    float* const at = scratch_.data() + 2 * chunk * size_;
    return Effect{at, at + size_};
  }
  // f(chunk, first, last): the blocks of a chunk, by threads.
  template <class F>
  void share(int64_t chunks, F f) {
    context_.pool.parallel_for(chunks * tasks_, 1, [&](int64_t begin, int64_t end) {
      for (int64_t chunk = begin / tasks_; chunk * tasks_ < end; ++chunk) {
        context_.check_stop();
        const int64_t at = chunk * tasks_;
        f(chunk, begin > at ? begin - at : 0, end - at < tasks_ ? end - at : tasks_);
      }
    });
  }

  template <class F>
  void run_by_time(F f) {
    const int64_t chunks = walk_.chunks(), hidden = walk_.shape.hidden;
    share(chunks - 1, [&](int64_t chunk, int64_t first, int64_t last) {
      const Effect effect = effect_of(chunk);
      start_effect(walk_, first, last, effect);
      f(chunk * kChunk, walk_.chunk_end(chunk), first, last, nullptr, &effect);
    });
    // What was added makes room for the state before the chunk.
    const Scratch behind(size_);
    for (int64_t chunk = 0; chunk < chunks; ++chunk) {
      const Effect effect = effect_of(chunk);
      for (int64_t n = 0; chunk + 1 < chunks && n < walk_.shape.batch; ++n) {
        pass(chunk, n, effect, state_, behind.data(), 0, hidden);
      }
      copy_floats(effect.add, state_, size_);
      if (chunk + 1 < chunks) copy_floats(state_, behind.data(), size_);
    }
    share(chunks, [&](int64_t chunk, int64_t first, int64_t last) {
      float* const own = effect_of(chunk).add;
      f(chunk * kChunk, walk_.chunk_end(chunk), first, last, own, nullptr);
      walk_.each(first, last, walk_.shape.batch, [&](int64_t n, int64_t from, int64_t to) {
        if (goes_on(walk_, chunk, n)) return;
        const bool here =
            chunk == 0 || walk_.backwards || n < walk_.active(walk_.step(chunk * kChunk));
        if (here) copy_floats(state_ + n * hidden + from, own + n * hidden + from, to - from);
      });
    });
  }

  const Walk& walk_;
  const uint8_t* const reset_;
  float* const state_;
  Context& context_;
  const int64_t size_, tasks_;
  const bool by_time_;
  const Scratch scratch_;
};

template <class Cell, bool activated>
class ScanForward {
 public:
  ScanForward(const ElementwiseForwardArgs& args, Context& context)
      : walk(args.shape, args.shape.reverse),
        args_(args),
        scan_(walk, args.in.reset, args.last, context) {
    start_state(walk, 0, args.shape.batch * walk.blocks, args.last, args.in.state0);
  }

  const Walk walk;

  // As of LoopForward.
  bool at_once() const { return scan_.at_once(); }
  void run(int64_t begin, int64_t end, const Rows<PreActivation<activated>>& rows) {
    const int64_t hidden = args_.shape.hidden;
    scan_.run(begin, end,
              [&](int64_t from_step, int64_t to_step, int64_t first, int64_t last, float* states,
                  const Effect* effect) {
                walk.each_step(from_step, to_step, first, last,
                               [&](int64_t, int64_t row, int64_t n, int64_t from, int64_t to) {
                                 const int64_t at = n * hidden + from;
                                 float* const y = args_.y + row * hidden;
                                 if (resets(args_.in, row)) clear(at, to - from, states, effect);
                                 if (!skips(args_.in, row)) {
                                   step(rows.of(row), y, n * hidden, from, to, states, effect);
                                 } else if (states != nullptr) {
                                   copy_floats(y + from, states + at, to - from);
                                 }
                               });
              });
  }

 private:
  // Units [from, to) of a row. By way of memory, so that a state has the same bits wherever it is
  // computed: a compiler that knew where `add` comes from might round the product in it or not.
  void step(PreActivation<activated>* row, float* y, int64_t sequence, int64_t from, int64_t to,
            float* states, const Effect* effect) const {
    constexpr int64_t kMost = 4 * kUnits;
    const int64_t hidden = args_.shape.hidden;
    for (int64_t at = from; at < to; at += kMost) {
      float keep[kMost], add[kMost];
      const int64_t count = to - at < kMost ? to - at : kMost;
      auto* const a = row + at;
      each_vector(count, [&](int64_t u, auto read, [[maybe_unused]] auto write) {
        Vec s[Cell::kBlocks], k, b;
        read_rows(s, a + u, hidden, read);
        if constexpr (activated) {
          Cell::activate(s);
          if (states != nullptr) write_changed<Cell>(a + u, s, hidden, write);
          Cell::coefficients_activated(s, k, b);
        } else {
          Cell::coefficients(s, k, b);
        }
        store(keep + u, k);
        store(add + u, b);
      });
      if (states != nullptr) {
        float *state = states + sequence + at, *h_row = y + at;
        each_vector(count, [&](int64_t u, auto read, auto write) {
          const Vec h = load(keep + u) * read(state + u) + load(add + u);
          write(state + u, h);
          write(h_row + u, h);
        });
      }
      if (effect != nullptr) {
        float *factor = effect->factor + sequence + at, *sum = effect->add + sequence + at;
        each_vector(count, [&](int64_t u, auto read, auto write) {
          const Vec k = load(keep + u);
          write(factor + u, k * read(factor + u));
          write(sum + u, k * read(sum + u) + load(add + u));
        });
      }
    }
  }

  const ElementwiseForwardArgs& args_;
  ChunkScan scan_;
};

template <class Cell, bool activated>
class ScanBackward {
 public:
  ScanBackward(const ElementwiseBackwardArgs& args, Context& context)
      : walk(args.shape, !args.shape.reverse),
        args_(args),
        own_(args.dstate0 == nullptr ? args.shape.batch * args.shape.hidden : 0),
        dstates_(args.dstate0 != nullptr ? args.dstate0 : own_.data()),
        scan_(walk, args.in.reset, dstates_, context) {
    start_state(walk, 0, args.shape.batch * walk.blocks, dstates_, args.dlast);
  }

  const Walk walk;

  // As of LoopBackward.
  bool at_once() const { return scan_.at_once(); }
  void run(int64_t begin, int64_t end, const Rows<const float>& rows,
           const Rows<float>& gradients) {
    scan_.run(begin, end,
              [&](int64_t from_step, int64_t to_step, int64_t first, int64_t last, float* dstates,
                  const Effect* effect) {
                walk.each_step(from_step, to_step, first, last,
                               [&](int64_t t, int64_t row, int64_t n, int64_t from, int64_t to) {
                                 step(t, row, n, from, to, rows.of(row),
                                      dstates != nullptr ? gradients.of(row) : nullptr, dstates,
                                      effect);
                               });
              });
  }
  void finish() const {}

 private:
  void step(int64_t t, int64_t row, int64_t n, int64_t from, int64_t to, const float* a, float* da,
            float* dstates, const Effect* effect) const {
    const int64_t hidden = args_.shape.hidden;
    const bool reset = resets(args_.in, row);
    const float* before = reset ? nullptr : walk.before(args_.states, args_.in.state0, t, n);
    const float* dy = args_.dy != nullptr ? args_.dy + row * hidden : nullptr;
    const int64_t start = n * hidden + from;
    if (skips(args_.in, row)) {
      skip(start, to - from, dy != nullptr ? dy + from : nullptr,
           da != nullptr ? da + from : nullptr, dstates, effect);
      if (reset) clear(start, to - from, dstates, effect);
      return;
    }
    each_vector(to - from, [&](int64_t j, auto read, auto write) {
      const int64_t u = from + j, at = n * hidden + u, later = u + kAhead * hidden;
      for (int k = 0; k < Cell::kBlocks; ++k) {
        __builtin_prefetch(a + k * hidden + u + kAhead * Cell::kBlocks * hidden);
      }
      if (dy != nullptr) __builtin_prefetch(dy + later);
      if (before != nullptr) __builtin_prefetch(before + later);
      Vec s[Cell::kBlocks], ds[Cell::kBlocks];
      read_rows(s, a + u, hidden, read);
      const Vec dh = dy != nullptr ? read(dy + u) : Vec{};
      const Vec dstate = dh + (dstates != nullptr ? read(dstates + at) : Vec{});
      const Vec then = before != nullptr ? read(before + u) : Vec{};
      Vec keep;
      if constexpr (activated) {
        keep = Cell::backward_activated(s, then, dstate, ds);
      } else {
        keep = Cell::backward(s, then, dstate, ds);
      }
      if (dstates != nullptr) {
        write(dstates + at, keep * dstate);
        for (int k = 0; k < Cell::kBlocks; ++k) write(da + k * hidden + u, ds[k]);
      }
      if (effect != nullptr) {
        write(effect->factor + at, keep * read(effect->factor + at));
        write(effect->add + at, keep * (dh + read(effect->add + at)));
      }
    });
    if (reset) clear(start, to - from, dstates, effect);
  }
  // The gradient of a skipped step's output is that of the state before.
  void skip(int64_t at, int64_t count, const float* dy, float* da, float* dstates,
            const Effect* effect) const {
    for (int k = 0; da != nullptr && k < Cell::kBlocks; ++k) {
      copy_or_zero(da + k * args_.shape.hidden, nullptr, count);
    }
    if (dy == nullptr) return;
    if (dstates != nullptr) add_floats(dstates + at, dy, count);
    if (effect != nullptr) add_floats(effect->add + at, dy, count);
  }

  const ElementwiseBackwardArgs& args_;
  const Scratch own_;
  float* const dstates_;
  ChunkScan scan_;
};

}  // namespace

FUSED_RNN_KERNELS_END
