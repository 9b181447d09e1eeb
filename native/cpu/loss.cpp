// Losses: each in one pass forward and one backward. Sums run in a fixed order, so that they do not
// depend on the number of threads.
#include "cpu/loss.h"

#include <math.h>

#include "cells/math.h"
#include "core/empty_mean.h"
#include "core/failure.h"
#include "cpu/isa.h"
#include "cpu/reduce.h"
#include "ops/pair_losses.h"

FUSED_RNN_KERNELS_BEGIN
namespace {

constexpr int64_t kGrain = 1 << 13;

// ---- Cross entropy ----------------------------------------------------------------------------

// A register's worth of logits; what is missing of it counts nothing.
Vec logits_at(const float* x, int64_t n) {
  return n >= kLanes ? load(x) : load_part(x, n, Vec{} - INFINITY);
}

float log_sum_exp(const float* x, int64_t n) {
  Vec largest = logits_at(x, n);
  for (int64_t j = kLanes; j < n; j += kLanes) {
    const Vec v = logits_at(x + j, n - j);
    largest = v > largest ? v : largest;
  }
  const float max = max_lanes(largest);
  constexpr int64_t kBlock = 1024;  // added up in float before it is added in double
  double total = 0;
  for (int64_t from = 0; from < n; from += kBlock) {
    const int64_t end = n - from < kBlock ? n : from + kBlock;
    Vec sums[2] = {};
    for (int64_t j = from; j < end; j += 2 * kLanes) {
      sums[0] += exp_(logits_at(x + j, end - j) - max);
      if (j + kLanes < end) sums[1] += exp_(logits_at(x + j + kLanes, end - j - kLanes) - max);
    }
    total += sum_lanes(sums[0] + sums[1]);
  }
  return max + log_(static_cast<float>(total));
}

}  // namespace

void cross_entropy_forward(const CrossEntropyForwardArgs& args, Context& context) {
  const CrossEntropyShape& shape = args.shape;
  const char* name = shape.log_probabilities ? "nllLoss" : "crossEntropy";
  for (int64_t i = 0; i < shape.n; ++i) {
    const int64_t target = args.target[i];
    if (target != shape.ignore_index && (target < 0 || target >= shape.classes)) {
      fail_index(name, "target", i, target, shape.classes);
    }
  }
  const bool per_row = shape.reduction == Reduction::none;
  Scratch scratch(per_row ? 1 : shape.n);
  float* losses = per_row ? args.loss : scratch.data();
  const float smoothing = shape.label_smoothing;
  const float* weight = args.weight;
  const float all = weight != nullptr ? total_weight(weight, shape.classes) : 0;
  context.pool.parallel_for(
      shape.n, kGrain / (shape.classes + 1) + 1, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
          const float* row = args.logits + i * shape.classes;
          if (args.target[i] == shape.ignore_index) {
            losses[i] = 0;
            args.lse[i] = 0;
            continue;
          }
          const float lse = shape.log_probabilities ? 0 : log_sum_exp(row, shape.classes);
          args.lse[i] = lse;
          losses[i] = lse - row[args.target[i]];
          if (weight != nullptr) losses[i] *= weight[args.target[i]];
          if (smoothing > 0 && weight != nullptr) {
            const double sum =
                sum_over(shape.classes, [=](auto at) { return at(row) * at(weight); });
            const auto classes = static_cast<double>(shape.classes);
            const auto uniform = static_cast<float>((double{all} * lse - sum) / classes);
            losses[i] += smoothing * (uniform - losses[i]);
          } else if (smoothing > 0) {
            const double sum = sum_of(row, shape.classes);
            const auto uniform = lse - static_cast<float>(sum / shape.classes);
            losses[i] += smoothing * (uniform - losses[i]);
          }
        }
      });
  if (per_row) return;
  double total = 0;
  for (int64_t i = 0; i < shape.n; ++i) total += losses[i];
  const bool mean = shape.reduction == Reduction::mean;
  const double terms = mean ? counted(shape, args.target, weight) : 1;
  *args.loss = mean_of(total, terms);
}

void cross_entropy_backward(const CrossEntropyBackwardArgs& args, Context& context) {
  const CrossEntropyShape& shape = args.shape;
  const CrossEntropyGradient gradient(args);
  context.pool.parallel_for(
      shape.n, kGrain / (shape.classes + 1) + 1, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
          gradient.write(i, 0, shape.classes, args.dlogits + i * shape.classes);
        }
      });
}

// ---- Losses of pairs: elementwise, then reduced -----------------------------------------------

namespace {

using pair_losses::Extra;

constexpr int64_t kBlock = 4096;

// Adds f(i) up: floats within a lane of a block, doubles beyond.
template <class F>
double sum_each(int64_t n, F f) {
  constexpr int64_t kValues = 16 * kSums;
  double total = 0;
  for (int64_t from = 0; from < n; from += kValues) {
    const int64_t count = n - from < kValues ? n - from : kValues;
    float values[kValues];
    for (int64_t i = 0; i < count; ++i) values[i] = f(from + i);
    total += sum_of(values, count);
  }
  return total;
}

template <class L>
void pair_forward(const PairLossForwardArgs& args, Context& context) {
  const auto at = [&](int64_t i) {
    return L::loss(args.x[i], args.t[i],
                   Extra{args.weight ? args.weight[i] : 1, args.pos_weight ? args.pos_weight[i] : 1,
                         args.option});
  };
  if (args.reduction == Reduction::none) {
    context.pool.parallel_for(args.n, kGrain, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) args.loss[i] = at(i);
    });
    return;
  }
  const int64_t blocks = (args.n + kBlock - 1) / kBlock;
  Scratch scratch(2 * blocks);
  auto* sums = reinterpret_cast<double*>(scratch.data());
  context.pool.parallel_for(blocks, 2, [&](int64_t begin, int64_t end) {
    for (int64_t block = begin; block < end; ++block) {
      const int64_t to = block + 1 == blocks ? args.n : (block + 1) * kBlock;
      const int64_t from = block * kBlock;
      sums[block] = sum_each(to - from, [&](int64_t i) { return at(from + i); });
    }
  });
  double total = 0;
  for (int64_t block = 0; block < blocks; ++block) total += sums[block];
  *args.loss = mean_of(total, args.reduction == Reduction::mean ? static_cast<double>(args.n) : 1);
}

template <class L>
void pair_backward(const PairLossBackwardArgs& args, Context& context) {
  const bool each = args.reduction == Reduction::none;
  float common = each ? 0 : *args.dloss;
  if (args.reduction == Reduction::mean) common /= static_cast<float>(args.n);
  context.pool.parallel_for(args.n, kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const float g = each ? args.dloss[i] : common;
      const Extra extra{args.weight ? args.weight[i] : 1, args.pos_weight ? args.pos_weight[i] : 1,
                        args.option};
      if (args.dx) args.dx[i] = g * L::dx(args.x[i], args.t[i], extra);
      if (args.dt) args.dt[i] = g * L::dt(args.x[i], args.t[i], extra);
    }
  });
}

}  // namespace

void pair_loss_forward(const PairLossForwardArgs& args, Context& context) {
  if (args.kind == PairLoss::bce) {
    bool inside = true;
    for (int64_t i = 0; i < args.n; ++i) inside &= args.x[i] >= 0 && args.x[i] <= 1;
    if (!inside) fail("binaryCrossEntropy", kNoProbability);
  }
  with_pair_loss(args.kind, [&](auto loss) { pair_forward<decltype(loss)>(args, context); });
}

void pair_loss_backward(const PairLossBackwardArgs& args, Context& context) {
  with_pair_loss(args.kind, [&](auto loss) { pair_backward<decltype(loss)>(args, context); });
}

FUSED_RNN_KERNELS_END
