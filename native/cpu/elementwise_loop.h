// Cells whose state is not a linear function of the old one (cells/elementwise.h), step after step.
#pragma once

#include "cells/elementwise.h"
#include "cpu/elementwise_walk.h"

FUSED_RNN_KERNELS_BEGIN

namespace {

// Sequences whose gradients of the weights are added up in a row. Fixed, so that the sums have the
// same bits on any number of threads.
constexpr int64_t kGroup = 8;

template <class Cell>
struct CellWeights {
  static constexpr int kV = Cell::kWeights - Cell::kBiases;
  const float* rows[Cell::kWeights];

  CellWeights(const float* v, const float* b, int64_t hidden) {
    for (int k = 0; k < kV; ++k) rows[k] = v + k * hidden;
    for (int k = kV; k < Cell::kWeights; ++k) {
      rows[k] = b != nullptr ? b + (k - kV) * hidden : nullptr;
    }
  }
  template <class Read>
  void read(Vec (&to)[Cell::kWeights], int64_t u, Read read) const {
    for (int k = 0; k < Cell::kWeights; ++k) to[k] = rows[k] != nullptr ? read(rows[k] + u) : Vec{};
  }
};

// `activated`: the pre-activations become what Cell::activate() makes of them, for backward.
template <class Cell, bool activated>
class LoopForward {
 public:
  LoopForward(const ElementwiseForwardArgs& args, Context& context)
      : walk(args.shape, args.shape.reverse), args_(args), context_(context) {
    start_state(walk, 0, args.shape.batch * walk.blocks, args.last, args.in.state0);
  }

  const Walk walk;

  // Whether run() takes all steps in one call only.
  bool at_once() const { return false; }
  // The steps that come `begin`-th to before `end`-th, whose pre-activations are `rows`.
  void run(int64_t begin, int64_t end, const Rows<PreActivation<activated>>& rows) {
    constexpr int kBlocks = Cell::kBlocks;
    const ElementwiseInputs& in = args_.in;
    const int64_t hidden = args_.shape.hidden;
    const CellWeights<Cell> weights(in.v, in.b, hidden);
    walk.share(args_.shape.batch, end - begin, context_, [&](int64_t first, int64_t last) {
      walk.each_step(begin, end, first, last,
                     [&](int64_t t, int64_t row, int64_t n, int64_t from, int64_t to) {
                       const int64_t at = row * hidden;
                       auto* const a = rows.of(row);
                       float *state = args_.last + n * hidden, *y = args_.y + at;
                       if (resets(in, row)) copy_or_zero(state + from, nullptr, to - from);
                       if (skips(in, row)) return skip(t, row, n, from, to);
                       each_vector(to - from, [&](int64_t j, auto read, auto write) {
                         const int64_t u = from + j;
                         Vec s[kBlocks], w[Cell::kWeights], x{}, h;
                         read_rows(s, a + u, hidden, read);
                         weights.read(w, u, read);
                         if constexpr (Cell::kSkip) x = read(in.x + at + u);
                         Vec now = read(state + u);
                         if constexpr (activated) {
                           Cell::activate(s, w, now);
                           write_changed<Cell>(a + u, s, hidden, write);
                           Cell::forward_activated(s, x, w, now, h);
                         } else {
                           Cell::forward(s, x, w, now, h);
                         }
                         write(state + u, now);
                         write(y + u, h);
                         if constexpr (Cell::kOwnState) {
                           if (args_.states != nullptr) write(args_.states + at + u, now);
                         }
                       });
                     });
    });
  }

 private:
  // Keeps the state, and repeats the output.
  void skip(int64_t t, int64_t row, int64_t n, int64_t from, int64_t to) const {
    const int64_t hidden = args_.shape.hidden, at = row * hidden + from, count = to - from;
    const float *const state = args_.last + n * hidden, *h = state;
    if constexpr (Cell::kOwnState) {
      h = resets(args_.in, row) ? nullptr : walk.before(args_.y, nullptr, t, n);
      if (args_.states != nullptr) copy_floats(args_.states + at, state + from, count);
    }
    copy_or_zero(args_.y + at, h != nullptr ? h + from : nullptr, count);
  }

  const ElementwiseForwardArgs& args_;
  Context& context_;
};

// What the gradients of the weights add up to, by groups of sequences. Sums of many steps are sums of
// sums, which round less.
template <class Cell>
class WeightSums {
 public:
  WeightSums(int64_t groups, int64_t hidden)
      : size_(Cell::kWeights * hidden),
        groups_(groups),
        hidden_(hidden),
        data_(2 * groups * size_) {
    for (int64_t i = 0; i < 2 * groups * size_; ++i) data_.data()[i] = 0;
  }
  // [V, H] of a group, to add to.
  float* of(int64_t group) const { return data_.data() + 2 * group * size_; }
  // To be called now and then.
  void settle(int64_t group, int64_t from, int64_t to) const {
    for (int k = 0; k < Cell::kWeights; ++k) {
      float *some = of(group) + k * hidden_, *all = some + size_;
      for (int64_t u = from; u < to; ++u) {
        all[u] += some[u];
        some[u] = 0;
      }
    }
  }
  // rows [row, row + count) of the sums over all groups.
  void write(float* to, int64_t row, int64_t count) const {
    if (to == nullptr) return;
    for (int64_t i = 0; i < count * hidden_; ++i) {
      double sum = 0;
      for (int64_t group = 0; group < groups_; ++group) {
        sum += (of(group) + size_)[row * hidden_ + i];
      }
      to[i] = static_cast<float>(sum);
    }
  }

 private:
  int64_t size_, groups_, hidden_;
  Scratch data_;
};

// `activated`: from what LoopForward has made of the pre-activations.
template <class Cell, bool activated>
class LoopBackward {
 public:
  LoopBackward(const ElementwiseBackwardArgs& args, Context& context)
      : walk(args.shape, !args.shape.reverse),
        args_(args),
        context_(context),
        groups_((args.shape.batch + kGroup - 1) / kGroup),
        sums_(groups_, args.shape.hidden),
        own_(args.dstate0 == nullptr ? args.shape.batch * args.shape.hidden : 0),
        held_(Cell::kOwnState && args.in.mask != nullptr ? args.shape.batch * args.shape.hidden
                                                         : 0),
        dstates_(args.dstate0 != nullptr ? args.dstate0 : own_.data()) {
    const int64_t all = args.shape.batch * walk.blocks;
    start_state(walk, 0, all, dstates_, args.dlast);
    if (holds()) start_state(walk, 0, all, held_.data(), nullptr);
  }

  const Walk walk;

  bool at_once() const { return false; }
  // As LoopForward's; `gradients` become those of `rows`.
  void run(int64_t begin, int64_t end, const Rows<const float>& rows,
           const Rows<float>& gradients) {
    walk.share(groups_, (end - begin) * kGroup, context_, [&](int64_t first, int64_t last) {
      for (int64_t i = begin; i < end; ++i) {
        walk.each(first, last, groups_, [&](int64_t group, int64_t from, int64_t to) {
          step(walk.step(i), group, from, to, rows, gradients);
          if (i % kChunk == kChunk - 1 || i == args_.shape.steps - 1) sums_.settle(group, from, to);
        });
      }
    });
  }
  // Behind the last step.
  void finish() const {
    constexpr int kV = Cell::kWeights - Cell::kBiases;
    sums_.write(args_.dv, 0, kV);
    sums_.write(args_.db, kV, Cell::kBiases);
  }

 private:
  // Units [from, to) of a group.
  void step(int64_t t, int64_t group, int64_t from, int64_t to, const Rows<const float>& rows,
            const Rows<float>& gradients) const {
    constexpr int kBlocks = Cell::kBlocks, kWeights = Cell::kWeights;
    const ElementwiseInputs& in = args_.in;
    const int64_t hidden = args_.shape.hidden, first = walk.row(t), active = walk.active(t);
    const CellWeights<Cell> weights(in.v, in.b, hidden);
    const int64_t n_begin = group * kGroup;
    const int64_t n_end = n_begin + kGroup < active ? n_begin + kGroup : active;
    float* const sum = sums_.of(group);
    // Row after row, as they lie in memory.
    for (int64_t n = n_begin; n < n_end; ++n) {
      const int64_t row = first + n, at = row * hidden;
      const bool reset = resets(in, row);
      const float* const before = reset ? nullptr : walk.before(args_.states, in.state0, t, n);
      const float *const a = rows.of(row), *const after = args_.states + at;
      const float* const x = Cell::kSkip ? in.x + at : nullptr;
      const float* const dy = args_.dy != nullptr ? args_.dy + at : nullptr;
      float *const da = gradients.of(row), *const dstate = dstates_ + n * hidden;
      float* const past = Cell::kSkip && args_.dx != nullptr ? args_.dx + at : nullptr;
      float* const held = holds() ? held_.data() + n * hidden : nullptr;
      if (skips(in, row)) {
        // The gradient of its output is that of the output before.
        if (dy != nullptr) {
          add_floats((Cell::kOwnState ? held : dstate) + from, dy + from, to - from);
        }
        for (int k = 0; k < kBlocks; ++k) copy_or_zero(da + k * hidden + from, nullptr, to - from);
        if (past != nullptr) copy_or_zero(past + from, nullptr, to - from);
        if (reset) cut(n, from, to);
        continue;
      }
      each_vector(to - from, [&](int64_t j, auto read, auto write) {
        const int64_t u = from + j, later = u + kAhead * hidden;
        for (int k = 0; k < kBlocks; ++k) {
          __builtin_prefetch(a + k * hidden + u + kAhead * rows.width);
        }
        if constexpr (Cell::kSkip) __builtin_prefetch(x + later);
        if (dy != nullptr) __builtin_prefetch(dy + later);
        if (before != nullptr) __builtin_prefetch(before + later);
        if (past != nullptr) __builtin_prefetch(past + later, 1);
        Vec w[kWeights], dw[kWeights], s[kBlocks], ds[kBlocks], skipped{}, dx{};
        weights.read(w, u, read);
        read_rows(dw, sum + u, hidden, read);
        read_rows(s, a + u, hidden, read);
        if constexpr (Cell::kSkip) skipped = read(x + u);
        Vec dnow = read(dstate + u);
        Vec dh = dy != nullptr ? read(dy + u) : Vec{};
        if (held != nullptr) {
          dh = dh + read(held + u);
          write(held + u, Vec{});
        }
        const Vec then = before != nullptr ? read(before + u) : Vec{}, now = read(after + u);
        if constexpr (activated) {
          Cell::backward_activated(s, skipped, w, then, now, dh, dnow, ds, dx, dw);
        } else {
          Cell::backward(s, skipped, w, then, now, dh, dnow, ds, dx, dw);
        }
        write(dstate + u, dnow);
        for (int k = 0; k < kBlocks; ++k) write(da + k * hidden + u, ds[k]);
        if constexpr (Cell::kSkip) {
          if (past != nullptr) write(past + u, dx);
        }
        for (int k = 0; k < kWeights; ++k) write(sum + k * hidden + u, dw[k]);
      });
      if (reset) cut(n, from, to);
    }
  }
  // No gradient goes on to earlier steps.
  void cut(int64_t n, int64_t from, int64_t to) const {
    const int64_t at = n * args_.shape.hidden + from;
    copy_or_zero(dstates_ + at, nullptr, to - from);
    if (holds()) copy_or_zero(held_.data() + at, nullptr, to - from);
  }

  // Whether skipped steps may hold gradients of an output that is not the state.
  bool holds() const { return Cell::kOwnState && args_.in.mask != nullptr; }

  const ElementwiseBackwardArgs& args_;
  Context& context_;
  const int64_t groups_;
  const WeightSums<Cell> sums_;
  const Scratch own_, held_;  // held_: gradients of the output before, of skipped steps
  float* const dstates_;
};

}  // namespace

FUSED_RNN_KERNELS_END
