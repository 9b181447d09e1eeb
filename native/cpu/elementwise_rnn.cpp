// Recurrent layers without a recurrent matrix: one pass over the rows, which memory bounds.
#include "cells/elementwise.h"
#include "cpu/elementwise_scan.h"
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

template <class Cell>
void forward(const ElementwiseForwardArgs& args, Context& context) {
  constexpr int kBlocks = Cell::kBlocks;
  const Walk walk(args.shape, args.shape.reverse);
  const ElementwiseInputs& in = args.in;
  const int64_t hidden = args.shape.hidden, steps = args.shape.steps;
  const CellWeights<Cell> weights(in.v, in.b, hidden);
  context.pool.parallel_for(
      args.shape.batch * walk.blocks, kGrain / (steps * kUnits) + 1,
      [&](int64_t begin, int64_t end) {
        start_state(walk, begin, end, args.last, in.state0);
        for (int64_t i = 0; i < steps; ++i) {
          if (i % kChunk == 0) context.check_stop();
          const int64_t t = walk.step(i), first = walk.row(t);
          walk.each(begin, end, walk.active(t), [&](int64_t n, int64_t from, int64_t to) {
            const int64_t at = (first + n) * hidden;
            const float* a = in.a + at * kBlocks;
            float *state = args.last + n * hidden, *y = args.y + at;
            each_vector(to - from, [&](int64_t j, auto read, auto write) {
              const int64_t u = from + j;
              Vec s[kBlocks], w[Cell::kWeights], x{}, h;
              read_rows(s, a + u, hidden, read);
              weights.read(w, u, read);
              if constexpr (Cell::kSkip) x = read(in.x + at + u);
              Vec now = read(state + u);
              Cell::forward(s, x, w, now, h);
              write(state + u, now);
              write(y + u, h);
              if constexpr (Cell::kOwnState) {
                if (args.states != nullptr) write(args.states + at + u, now);
              }
            });
          });
        }
      });
}

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

template <class Cell>
void backward(const ElementwiseBackwardArgs& args, Context& context) {
  constexpr int kBlocks = Cell::kBlocks, kWeights = Cell::kWeights;
  const ElementwiseShape& shape = args.shape;
  const Walk walk(shape, !shape.reverse);
  const ElementwiseInputs& in = args.in;
  const int64_t hidden = shape.hidden, steps = shape.steps;
  const CellWeights<Cell> weights(in.v, in.b, hidden);
  const int64_t groups = (shape.batch + kGroup - 1) / kGroup;
  const WeightSums<Cell> sums(groups, hidden);
  const Scratch own(args.dstate0 == nullptr ? shape.batch * hidden : 0);
  float* const dstates = args.dstate0 != nullptr ? args.dstate0 : own.data();
  const auto each_group = [&](int64_t begin, int64_t end, auto f) {
    walk.each(begin, end, groups, f);
  };
  context.pool.parallel_for(
      groups * walk.blocks, kGrain / (steps * kGroup * kUnits) + 1,
      [&](int64_t begin, int64_t end) {
        each_group(begin, end, [&](int64_t group, int64_t from, int64_t to) {
          for (int64_t n = group * kGroup; n < shape.batch && n < (group + 1) * kGroup; ++n) {
            copy_or_zero(dstates + n * hidden + from,
                         args.dlast != nullptr ? args.dlast + n * hidden + from : nullptr,
                         to - from);
          }
        });
        for (int64_t i = 0; i < steps; ++i) {
          if (i % kChunk == 0) context.check_stop();
          const int64_t t = walk.step(i), first = walk.row(t), active = walk.active(t);
          each_group(begin, end, [&](int64_t group, int64_t from, int64_t to) {
            const int64_t n_begin = group * kGroup;
            const int64_t n_end = n_begin + kGroup < active ? n_begin + kGroup : active;
            float* const sum = sums.of(group);
            const float* befores[kGroup];
            for (int64_t n = n_begin; n < n_end; ++n) {
              befores[n - n_begin] = walk.before(args.states, in.state0, t, n);
            }
            each_vector(n_end > n_begin ? to - from : 0, [&](int64_t j, auto read, auto write) {
              const int64_t u = from + j;
              Vec w[kWeights], dw[kWeights];
              weights.read(w, u, read);
              read_rows(dw, sum + u, hidden, read);
              for (int64_t n = n_begin; n < n_end; ++n) {
                const int64_t at = (first + n) * hidden + u;
                const float* a = in.a + (first + n) * hidden * kBlocks + u;
                const float* before = befores[n - n_begin];
                Vec s[kBlocks], ds[kBlocks], x{}, dx{};
                read_rows(s, a, hidden, read);
                if constexpr (Cell::kSkip) x = read(in.x + at);
                Vec dstate = read(dstates + n * hidden + u);
                const Vec dh = args.dy != nullptr ? read(args.dy + at) : Vec{};
                Cell::backward(s, x, w, before != nullptr ? read(before + u) : Vec{},
                               read(args.states + at), dh, dstate, ds, dx, dw);
                write(dstates + n * hidden + u, dstate);
                float* da = args.da + (first + n) * hidden * kBlocks + u;
                for (int k = 0; k < kBlocks; ++k) write(da + k * hidden, ds[k]);
                if constexpr (Cell::kSkip) {
                  if (args.dx != nullptr) write(args.dx + at, dx);
                }
              }
              for (int k = 0; k < kWeights; ++k) write(sum + k * hidden + u, dw[k]);
            });
            if (i % kChunk == kChunk - 1 || i == steps - 1) sums.settle(group, from, to);
          });
        }
      });
  constexpr int kV = kWeights - Cell::kBiases;
  sums.write(args.dv, 0, kV);
  sums.write(args.db, kV, Cell::kBiases);
}

}  // namespace

void elementwise_forward(const ElementwiseForwardArgs& args, Context& context) {
  with_cell(args.shape.kind, [&](auto cell) {
    using Cell = decltype(cell);
    if constexpr (Cell::kLinear) {
      scan_forward<Cell>(args, context);
    } else {
      forward<Cell>(args, context);
    }
  });
}

void elementwise_backward(const ElementwiseBackwardArgs& args, Context& context) {
  with_cell(args.shape.kind, [&](auto cell) {
    using Cell = decltype(cell);
    if constexpr (Cell::kLinear) {
      scan_backward<Cell>(args, context);
    } else {
      backward<Cell>(args, context);
    }
  });
}

FUSED_RNN_KERNELS_END
