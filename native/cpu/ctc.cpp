// Connectionist temporal classification: threads share the sequences.
#include <math.h>

#include "core/failure.h"
#include "cpu/isa.h"
#include "cpu/reduce.h"
#include "ops/log_sum.h"

FUSED_RNN_KERNELS_BEGIN

namespace {

constexpr float kNothing = -INFINITY;

// One sequence of the batch. Its states are labels 0 … n-1 and the blanks around them, 0 … n.
template <class Args>
struct Sequence {
  Sequence(const Args& args, int64_t i, int64_t offset)
      : classes(args.shape.classes),
        blank(args.shape.blank),
        stride(args.shape.batch * classes),
        steps(args.input_lengths[i]),
        n(args.target_lengths[i]),
        labels(args.targets + offset),
        log_probs(args.log_probs + i * classes),
        alpha_offset(args.shape.steps * 2 * (offset + i)) {}

  const int64_t classes, blank, stride, steps, n;
  const int32_t* labels;
  const float* log_probs;
  const int64_t alpha_offset;

  const float* at(int64_t step) const { return log_probs + step * stride; }
};

// A row of alpha: blanks [n + 1], a gap, labels [n].
struct Row {
  Row(float* data, int64_t n) : blanks(data), labels(data + n + 2) {}
  float* blanks;
  float* labels;  // labels[-1] is the gap
};

// Calls f(i, offset of the targets) for every sequence, threads sharing them.
template <class F>
void each_sequence(const CtcShape& shape, const int32_t* target_lengths, Context& context, F f) {
  Scratch scratch(2 * shape.batch);
  auto* offsets = reinterpret_cast<int64_t*>(scratch.data());
  int64_t at = 0;
  for (int64_t i = 0; i < shape.batch; ++i) {
    offsets[i] = shape.width < 0 ? at : i * shape.width;
    at += target_lengths[i];
  }
  context.pool.parallel_for(shape.batch, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      context.check_stop();
      f(i, offsets[i]);
    }
  });
}

void check(const CtcForwardArgs& args) {
  constexpr const char* kName = "ctcLoss";
  const CtcShape& shape = args.shape;
  const bool padded = shape.width >= 0;
  int64_t sum = 0;
  for (int64_t i = 0; i < shape.batch; ++i) {
    const int64_t steps = args.input_lengths[i], n = args.target_lengths[i];
    if (steps < 0 || steps > shape.steps) {
      fail_index(kName, "inputLengths", i, steps, shape.steps + 1);
    }
    const int64_t most = padded ? shape.width : shape.total;
    if (n < 0 || n > most) fail_index(kName, "targetLengths", i, n, most + 1);
    sum += n;
  }
  if (!padded && sum != shape.total) {
    fail(kName, "targetLengths: expected lengths that add up to the number of targets");
  }
  for (int64_t i = 0, at = 0; i < shape.batch; ++i) {
    const int64_t offset = padded ? i * shape.width : at, n = args.target_lengths[i];
    for (int64_t k = offset; k < offset + n; ++k) {
      const int64_t label = args.targets[k];
      if (label < 0 || label >= shape.classes) {
        fail_index(kName, "targets", k, label, shape.classes);
      }
      if (label == shape.blank) fail(kName, "targets: expected labels, got the blank");
    }
    at += n;
  }
}

// 1 where the blank before a label may be left out, as the label before is another one; for
// [0, n].
void find_skips(const int32_t* labels, int64_t n, float* skips) {
  skips[0] = skips[n] = 0;
  for (int64_t k = 1; k < n; ++k) skips[k] = labels[k] != labels[k - 1] ? 1 : 0;
}

void first_row(const Sequence<CtcForwardArgs>& sequence, Row row) {
  for (int64_t k = 0; k <= sequence.n + 1; ++k) row.blanks[k] = kNothing;
  for (int64_t k = 0; k < sequence.n; ++k) row.labels[k] = kNothing;
  row.blanks[0] = sequence.at(0)[sequence.blank];
  if (sequence.n > 0) row.labels[0] = sequence.at(0)[sequence.labels[0]];
}

// next = the row after `row`, relative to `largest`. emitted: those of the labels, [n].
void next_row(Row row, float largest, float blank, const float* __restrict emitted,
              const float* __restrict skips, int64_t n, Row next) {
  const float* blanks = row.blanks;
  const float* labels = row.labels;
  float* __restrict next_blanks = next.blanks;
  float* __restrict next_labels = next.labels;
  for (int64_t k = 0; k <= n; ++k) {
    next_blanks[k] = log_sum(blanks[k] - largest, labels[k - 1] - largest) + blank;
  }
  for (int64_t k = 0; k < n; ++k) {
    const float skipped = skips[k] > 0 ? labels[k - 1] - largest : kNothing;
    next_labels[k] = log_sum(labels[k] - largest, blanks[k] - largest, skipped) + emitted[k];
  }
  next_blanks[n + 1] = kNothing;
}

// The largest of a row; 0 where there is nothing.
float largest_of(Row row, int64_t n) {
  const float largest = max_of(row.blanks, CtcShape::row(n));
  return largest > kNothing ? largest : 0;
}

float loss_of(const CtcForwardArgs& args, int64_t i, int64_t offset) {
  const Sequence<CtcForwardArgs> sequence(args, i, offset);
  const int64_t n = sequence.n, width = CtcShape::row(n);
  if (sequence.steps == 0) return n == 0 ? 0 : INFINITY;
  Scratch scratch(2 * width + 2 * (n + 1));
  float* emitted = scratch.data() + 2 * width;
  float* skips = emitted + n + 1;
  find_skips(sequence.labels, n, skips);
  const auto row = [&](int64_t step) {
    float* data = args.alpha != nullptr ? args.alpha + sequence.alpha_offset + step * width
                                        : scratch.data() + step % 2 * width;
    return Row(data, n);
  };
  first_row(sequence, row(0));
  double taken = 0;  // off the rows so far
  for (int64_t step = 1; step < sequence.steps; ++step) {
    const float* log_probs = sequence.at(step);
    for (int64_t k = 0; k < n; ++k) emitted[k] = log_probs[sequence.labels[k]];
    const float largest = largest_of(row(step - 1), n);
    next_row(row(step - 1), largest, log_probs[sequence.blank], emitted, skips, n, row(step));
    taken += largest;
  }
  const Row last = row(sequence.steps - 1);
  const double a = last.blanks[n], b = n > 0 ? last.labels[n - 1] : kNothing;
  const double most = a > b ? a : b;
  if (most == kNothing) return INFINITY;
  return static_cast<float>(-(taken + most + ::log(::exp(a - most) + ::exp(b - most))));
}

}  // namespace

void ctc_forward(const CtcForwardArgs& args, Context& context) {
  check(args);
  each_sequence(args.shape, args.target_lengths, context, [&](int64_t i, int64_t offset) {
    const float loss = loss_of(args, i, offset);
    args.loss[i] = args.shape.zero_infinity && loss == INFINITY ? 0 : loss;
  });
}

namespace {

// Probabilities of the states of one step, given all of the target: as a Row, with `n` more zeros
// behind blanks and labels.
struct Posterior {
  Posterior(float* data, int64_t n) : blanks(data), labels(data + n + 2) {}
  float* blanks;  // [n + 2]
  float* labels;  // [n + 1]
  static int64_t size(int64_t n) { return 2 * n + 3; }
};

// before = the probabilities one step earlier than `now`. row: alpha there; blanks and labels: the
// logarithms of the sums that led to `now`, [n + 1] each, infinity behind the last label.
void step_back(Row row, float largest, const float* blanks, const float* labels, const float* skips,
               Posterior now, int64_t n, Posterior before) {
  const float* __restrict alpha_blanks = row.blanks;
  const float* __restrict alpha_labels = row.labels;
  float* __restrict to_blanks = before.blanks;
  float* __restrict to_labels = before.labels;
  for (int64_t k = 0; k <= n; ++k) {
    const float a = alpha_blanks[k] - largest;
    to_blanks[k] = now.blanks[k] * share_of(a, blanks[k]) + now.labels[k] * share_of(a, labels[k]);
  }
  for (int64_t k = 0; k < n; ++k) {
    const float a = alpha_labels[k] - largest;
    to_labels[k] = now.blanks[k + 1] * share_of(a, blanks[k + 1]) +
                   now.labels[k] * share_of(a, labels[k]) +
                   skips[k + 1] * now.labels[k + 1] * share_of(a, labels[k + 1]);
  }
  // Rounding would add up over the steps.
  const double sum = sum_of(to_blanks, n + 1) + sum_of(to_labels, n);
  const auto scale = static_cast<float>(1 / sum);
  for (int64_t k = 0; k <= n; ++k) to_blanks[k] *= scale;
  for (int64_t k = 0; k < n; ++k) to_labels[k] *= scale;
}

void backward_of(const CtcBackwardArgs& args, int64_t i, int64_t offset) {
  const Sequence<CtcBackwardArgs> sequence(args, i, offset);
  const int64_t n = sequence.n, width = CtcShape::row(n), classes = sequence.classes;
  const auto gradient = [&](int64_t step) {
    return args.dlog_probs + (step * args.shape.batch + i) * classes;
  };
  const auto fill = [&](int64_t from, int64_t to, float value) {
    for (int64_t step = from; step < to; ++step) {
      float* out = gradient(step);
      for (int64_t c = 0; c < classes; ++c) out[c] = value;
    }
  };
  fill(sequence.steps, args.shape.steps, 0);
  if (sequence.steps == 0) return;
  const auto row = [&](int64_t step) {
    return Row(const_cast<float*>(args.alpha) + sequence.alpha_offset + step * width, n);
  };
  const Row last = row(sequence.steps - 1);
  const float end = n > 0 ? last.labels[n - 1] : kNothing;
  const float whole = log_sum(last.blanks[n], end);
  if (whole == kNothing) return fill(0, sequence.steps, args.shape.zero_infinity ? 0 : NAN);
  const float g = args.dloss[i];
  Scratch scratch(2 * Posterior::size(n) + 3 * (n + 2));
  Posterior now(scratch.data(), n), before(scratch.data() + Posterior::size(n), n);
  float* blanks = scratch.data() + 2 * Posterior::size(n);
  float* labels = blanks + n + 2;
  float* skips = labels + n + 2;
  find_skips(sequence.labels, n, skips);
  for (int64_t k = 0; k < 2 * Posterior::size(n); ++k) scratch.data()[k] = 0;
  now.blanks[n] = share_of(last.blanks[n], whole);
  if (n > 0) now.labels[n - 1] = share_of(end, whole);
  for (int64_t step = sequence.steps - 1; step >= 0; --step) {
    const float* log_probs = sequence.at(step);
    float* out = gradient(step);
    each_vector(classes, [&](int64_t c, auto read, auto write) {
      write(out + c, exp_(read(log_probs + c)) * g);
    });
    out[sequence.blank] -= g * static_cast<float>(sum_of(now.blanks, n + 1));
    for (int64_t k = 0; k < n; ++k) out[sequence.labels[k]] -= g * now.labels[k];
    if (step == 0) break;
    const Row here = row(step), there = row(step - 1);
    for (int64_t k = 0; k < n; ++k) labels[k] = log_probs[sequence.labels[k]];
    const float blank = log_probs[sequence.blank];
    for (int64_t k = 0; k <= n; ++k) blanks[k] = here.blanks[k] - blank;
    for (int64_t k = 0; k < n; ++k) labels[k] = here.labels[k] - labels[k];
    labels[n] = INFINITY;
    step_back(there, largest_of(there, n), blanks, labels, skips, now, n, before);
    const Posterior other = now;
    now = before;
    before = other;
  }
}

}  // namespace

void ctc_backward(const CtcBackwardArgs& args, Context& context) {
  each_sequence(args.shape, args.target_lengths, context,
                [&](int64_t i, int64_t offset) { backward_of(args, i, offset); });
}

FUSED_RNN_KERNELS_END
