// Linear cells over time (cells/elementwise.h). Time is cut into chunks of kChunk steps. What a chunk
// does to the state before it is one factor and one number to add, A and B, so that threads may share
// chunks as well: they find A and B of all chunks, then the state before each chunk, then the steps of
// each. Where there are blocks of units enough for all threads, each takes its blocks chunk after
// chunk and finds A and B as it goes. The state before a chunk is the same in both ways.
#pragma once

#include "cells/elementwise.h"
#include "cpu/elementwise_walk.h"

FUSED_RNN_KERNELS_BEGIN

namespace {

// Rows of a chunk for the blocks [begin, end): f(n, from, to, t, row, u...) in the order of the walk.
template <class F>
void each_step(const Walk& walk, int64_t chunk, int64_t begin, int64_t end, F f) {
  for (int64_t i = chunk * kChunk; i < walk.chunk_end(chunk); ++i) {
    const int64_t t = walk.step(i), first = walk.row(t);
    walk.each(begin, end, walk.active(t),
              [&](int64_t n, int64_t from, int64_t to) { f(t, first + n, n, from, to); });
  }
}

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

// Whether the walk comes to more steps of sequence n behind a chunk.
inline bool goes_on(const Walk& walk, int64_t chunk, int64_t n) {
  if (chunk + 1 == walk.chunks()) return false;
  // Backwards there are never fewer sequences than before.
  return walk.backwards || n < walk.active(walk.step((chunk + 1) * kChunk));
}

// steps(chunk, begin, end, state, effect): the chunk's steps from state [N, H], which it changes, and
// its effect; either may be null: not wanted. Leaves in `state`, which holds that before the first
// chunk, the one behind each sequence.
template <class Steps>
void scan_chunks(const Walk& walk, float* state, Context& context, Steps steps) {
  const int64_t hidden = walk.shape.hidden, size = walk.shape.batch * hidden;
  const int64_t tasks = walk.shape.batch * walk.blocks, chunks = walk.chunks();
  if (chunks == 1 || 2 * tasks > context.pool.threads()) {
    const Scratch scratch(chunks > 1 ? 3 * size : 0);
    const Effect effect{scratch.data(), scratch.data() + size};
    float* const before = scratch.data() + 2 * size;
    const int64_t numbers = walk.shape.steps * kUnits;
    context.pool.parallel_for(tasks, kGrain / numbers + 1, [&](int64_t begin, int64_t end) {
      for (int64_t chunk = 0; chunk < chunks; ++chunk) {
        context.check_stop();
        if (chunk == chunks - 1) return steps(chunk, begin, end, state, nullptr);
        start_state(walk, begin, end, before, state);
        start_effect(walk, begin, end, effect);
        steps(chunk, begin, end, state, &effect);
        walk.each(begin, end, walk.shape.batch, [&](int64_t n, int64_t from, int64_t to) {
          if (!goes_on(walk, chunk, n)) return;
          apply_effect(effect, before, state, n * hidden + from, to - from);
        });
      }
    });
    return;
  }
  const Scratch scratch(2 * chunks * size);
  const auto effect_of = [&](int64_t chunk) {
    float* const at = scratch.data() + 2 * chunk * size;
    return Effect{at, at + size};
  };
  // f(chunk, begin, end): the blocks of a chunk, by threads.
  const auto share = [&](int64_t count, auto f) {
    context.pool.parallel_for(count * tasks, 1, [&](int64_t begin, int64_t end) {
      for (int64_t chunk = begin / tasks; chunk * tasks < end; ++chunk) {
        context.check_stop();
        const int64_t at = chunk * tasks;
        f(chunk, begin > at ? begin - at : 0, end - at < tasks ? end - at : tasks);
      }
    });
  };
  share(chunks - 1, [&](int64_t chunk, int64_t begin, int64_t end) {
    const Effect effect = effect_of(chunk);
    start_effect(walk, begin, end, effect);
    steps(chunk, begin, end, nullptr, &effect);
  });
  // What was added makes room for the state before the chunk.
  for (int64_t u = 0; u < size; ++u) {
    float now = state[u];
    for (int64_t chunk = 0; chunk < chunks; ++chunk) {
      const Effect effect = effect_of(chunk);
      float behind = now;
      if (chunk + 1 < chunks) behind = effect.factor[u] * now + effect.add[u];
      effect.add[u] = now;
      now = behind;
    }
  }
  share(chunks, [&](int64_t chunk, int64_t begin, int64_t end) {
    float* const own = effect_of(chunk).add;
    steps(chunk, begin, end, own, nullptr);
    walk.each(begin, end, walk.shape.batch, [&](int64_t n, int64_t from, int64_t to) {
      if (goes_on(walk, chunk, n)) return;
      const bool here = chunk == 0 || walk.backwards || n < walk.active(walk.step(chunk * kChunk));
      if (here) copy_floats(state + n * hidden + from, own + n * hidden + from, to - from);
    });
  });
}

template <class Cell>
void scan_forward(const ElementwiseForwardArgs& args, Context& context) {
  const Walk walk(args.shape, args.shape.reverse);
  const int64_t hidden = args.shape.hidden;
  start_state(walk, 0, args.shape.batch * walk.blocks, args.last, args.in.state0);
  const auto steps = [&](int64_t chunk, int64_t begin, int64_t end, float* states,
                         const Effect* effect) {
    each_step(walk, chunk, begin, end,
              [&](int64_t, int64_t row, int64_t n, int64_t from, int64_t to) {
                // By way of memory, so that a state has the same bits wherever it is computed: a
                // compiler that knew where `add` comes from might round the product in it or not.
                constexpr int64_t kMost = 4 * kUnits;
                for (int64_t at = from; at < to; at += kMost) {
                  float keep[kMost], add[kMost];
                  const int64_t count = to - at < kMost ? to - at : kMost;
                  const float* a = args.in.a + row * Cell::kBlocks * hidden + at;
                  each_vector(count, [&](int64_t u, auto read, auto) {
                    Vec s[Cell::kBlocks], k, b;
                    read_rows(s, a + u, hidden, read);
                    Cell::coefficients(s, k, b);
                    store(keep + u, k);
                    store(add + u, b);
                  });
                  if (states != nullptr) {
                    float *state = states + n * hidden + at, *y = args.y + row * hidden + at;
                    each_vector(count, [&](int64_t u, auto read, auto write) {
                      const Vec h = load(keep + u) * read(state + u) + load(add + u);
                      write(state + u, h);
                      write(y + u, h);
                    });
                  }
                  if (effect != nullptr) {
                    float *factor = effect->factor + n * hidden + at,
                          *sum = effect->add + n * hidden + at;
                    each_vector(count, [&](int64_t u, auto read, auto write) {
                      const Vec k = load(keep + u);
                      write(factor + u, k * read(factor + u));
                      write(sum + u, k * read(sum + u) + load(add + u));
                    });
                  }
                }
              });
  };
  scan_chunks(walk, args.last, context, steps);
}

template <class Cell>
void scan_backward(const ElementwiseBackwardArgs& args, Context& context) {
  const ElementwiseShape& shape = args.shape;
  const Walk walk(shape, !shape.reverse);
  const int64_t hidden = shape.hidden;
  const Scratch own(args.dstate0 == nullptr ? shape.batch * hidden : 0);
  float* const last = args.dstate0 != nullptr ? args.dstate0 : own.data();
  start_state(walk, 0, shape.batch * walk.blocks, last, args.dlast);
  const auto steps = [&](int64_t chunk, int64_t begin, int64_t end, float* dstates,
                         const Effect* effect) {
    each_step(walk, chunk, begin, end,
              [&](int64_t t, int64_t row, int64_t n, int64_t from, int64_t to) {
                const float* a = args.in.a + row * Cell::kBlocks * hidden;
                const float* before = walk.before(args.states, args.in.state0, t, n);
                const float* dy = args.dy != nullptr ? args.dy + row * hidden : nullptr;
                each_vector(to - from, [&](int64_t j, auto read, auto write) {
                  const int64_t u = from + j, at = n * hidden + u;
                  Vec s[Cell::kBlocks], ds[Cell::kBlocks];
                  read_rows(s, a + u, hidden, read);
                  const Vec dh = dy != nullptr ? read(dy + u) : Vec{};
                  const Vec dstate = dh + (dstates != nullptr ? read(dstates + at) : Vec{});
                  const Vec then = before != nullptr ? read(before + u) : Vec{};
                  const Vec keep = Cell::backward(s, then, dstate, ds);
                  if (dstates != nullptr) {
                    write(dstates + at, keep * dstate);
                    float* da = args.da + row * Cell::kBlocks * hidden + u;
                    for (int k = 0; k < Cell::kBlocks; ++k) write(da + k * hidden, ds[k]);
                  }
                  if (effect != nullptr) {
                    write(effect->factor + at, keep * read(effect->factor + at));
                    write(effect->add + at, keep * (dh + read(effect->add + at)));
                  }
                });
              });
  };
  scan_chunks(walk, last, context, steps);
}

}  // namespace

FUSED_RNN_KERNELS_END
