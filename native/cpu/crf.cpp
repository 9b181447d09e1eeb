// Linear-chain conditional random fields: threads share the sequences.
#include <math.h>

#include "core/failure.h"
#include "cpu/isa.h"
#include "cpu/reduce.h"
#include "ops/log_sum.h"

FUSED_RNN_KERNELS_BEGIN

namespace {

constexpr const char* kName = "CRF";

// exp(transitions), each column by its largest, so that a step is a product of a row and a matrix
// instead of K^2 exponentials.
class Factors {
 public:
  Factors(const CrfWeights& weights, int64_t tags)
      : tags_(tags), transitions_(weights.transitions), scratch_(tags * (tags + 1)) {
    float* largest = scratch_.data();
    float* factors = largest + tags;
    for (int64_t j = 0; j < tags; ++j) largest[j] = -INFINITY;
    for (int64_t i = 0; i < tags; ++i) {
      const float* row = transitions_ + i * tags;
      for (int64_t j = 0; j < tags; ++j) largest[j] = row[j] > largest[j] ? row[j] : largest[j];
    }
    for (int64_t j = 0; j < tags; ++j) largest[j] = largest[j] > -INFINITY ? largest[j] : 0;
    for (int64_t i = 0; i < tags; ++i) {
      const float* row = transitions_ + i * tags;
      for (int64_t j = 0; j < tags; ++j) factors[i * tags + j] = exp_(row[j] - largest[j]);
    }
  }

  const float* largest() const { return scratch_.data(); }
  const float* row(int64_t i) const { return scratch_.data() + (i + 1) * tags_; }
  float transition(int64_t i, int64_t j) const { return transitions_[i * tags_ + j]; }

 private:
  const int64_t tags_;
  const float* transitions_;
  Scratch scratch_;
};

// A sum of factors below this may have lost what counts, to numbers too small for a float: it is
// added up by its logarithms.
constexpr float kLeast = 1e-25f;

int64_t row_of(const CrfShape& shape, int64_t step, int64_t i) {
  return step * shape.step_stride + i * shape.batch_stride;
}

// The ones of a sequence's mask; throws unless zeros follow them.
int64_t length_of(const CrfShape& shape, const int32_t* mask, int64_t i) {
  if (mask == nullptr) return shape.steps;
  int64_t length = 0;
  while (length < shape.steps && mask[row_of(shape, length, i)] != 0) ++length;
  if (length == 0) fail(kName, "mask: expected the first step of every sequence to be on");
  for (int64_t step = length; step < shape.steps; ++step) {
    if (mask[row_of(shape, step, i)] != 0) {
      fail(kName, "mask: expected ones followed by zeros in every sequence");
    }
  }
  return length;
}

template <class F>
void each_sequence(const CrfShape& shape, Context& context, F f) {
  context.pool.parallel_for(shape.batch, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      context.check_stop();
      f(i);
    }
  });
}

// The logarithm of the sum over all tags before j, of the row `before` less `largest`.
float exact_sum(const Factors& factors, const float* before, float largest, int64_t tags,
                int64_t j) {
  float most = -INFINITY;
  for (int64_t i = 0; i < tags; ++i) {
    const float x = before[i] - largest + factors.transition(i, j);
    most = x > most ? x : most;
  }
  if (!(most > -INFINITY)) most = 0;
  double sum = 0;
  for (int64_t i = 0; i < tags; ++i) {
    sum += exp_(before[i] - largest + factors.transition(i, j) - most);
  }
  return most + static_cast<float>(::log(sum));
}

// The largest of a row; 0 where there is nothing.
float largest_of(const float* row, int64_t tags) {
  const float largest = max_of(row, tags);
  return largest > -INFINITY ? largest : 0;
}

// row = the logarithms of the sums over all ways that end in each tag, relative to `largest`, the
// largest of the row `before`. sums: room for [tags].
void next_row(const Factors& factors, const float* before, float largest, const float* emissions,
              int64_t tags, float* __restrict sums, float* row) {
  for (int64_t j = 0; j < tags; ++j) sums[j] = 0;
  for (int64_t i = 0; i < tags; ++i) {
    const float a = exp_(before[i] - largest);
    const float* __restrict factor = factors.row(i);
    for (int64_t j = 0; j < tags; ++j) sums[j] += a * factor[j];
  }
  const float* most = factors.largest();
  for (int64_t j = 0; j < tags; ++j) row[j] = log_(sums[j]) + most[j] + emissions[j];
  for (int64_t j = 0; j < tags; ++j) {
    if (sums[j] >= kLeast) continue;
    row[j] = exact_sum(factors, before, largest, tags, j) + emissions[j];
  }
}

float likelihood_of(const CrfForwardArgs& args, const Factors& factors, int64_t i) {
  const CrfShape& shape = args.shape;
  const int64_t tags = shape.tags, length = args.lengths[i];
  Scratch scratch(3 * tags);
  const auto row = [&](int64_t step) {
    return args.alpha != nullptr ? args.alpha + (i * shape.steps + step) * tags
                                 : scratch.data() + (1 + step % 2) * tags;
  };
  const auto emissions = [&](int64_t step) {
    return args.emissions + row_of(shape, step, i) * tags;
  };
  double score = 0, taken = 0;
  for (int64_t step = 0; step < length; ++step) {
    const int64_t tag = args.path[row_of(shape, step, i)];
    score += emissions(step)[tag];
    if (step == 0) {
      score += args.weights.start[tag];
      for (int64_t j = 0; j < tags; ++j) row(0)[j] = args.weights.start[j] + emissions(0)[j];
      continue;
    }
    score += factors.transition(args.path[row_of(shape, step - 1, i)], tag);
    const float largest = largest_of(row(step - 1), tags);
    next_row(factors, row(step - 1), largest, emissions(step), tags, scratch.data(), row(step));
    taken += largest;
  }
  score += args.weights.end[args.path[row_of(shape, length - 1, i)]];
  const float* last = row(length - 1);
  double most = -INFINITY, sum = 0;
  // By hand: GCC 12 for ARM gives up on a reduction by fmax.
  for (int64_t j = 0; j < tags; ++j) {
    const double x = double{last[j]} + args.weights.end[j];
    most = x > most ? x : most;
  }
  if (most == -INFINITY) most = 0;
  for (int64_t j = 0; j < tags; ++j) sum += ::exp(last[j] + args.weights.end[j] - most);
  return static_cast<float>(score - (taken + most + ::log(sum)));
}

}  // namespace

void crf_forward(const CrfForwardArgs& args, Context& context) {
  const CrfShape& shape = args.shape;
  for (int64_t i = 0; i < shape.batch; ++i) {
    args.lengths[i] = static_cast<int32_t>(length_of(shape, args.mask, i));
  }
  for (int64_t i = 0; i < shape.batch; ++i) {
    for (int64_t step = 0; step < args.lengths[i]; ++step) {
      const int64_t at = row_of(shape, step, i), tag = args.path[at];
      if (tag < 0 || tag >= shape.tags) fail_index(kName, "tags", at, tag, shape.tags);
    }
  }
  const Factors factors(args.weights, shape.tags);
  each_sequence(shape, context,
                [&](int64_t i) { args.likelihood[i] = likelihood_of(args, factors, i); });
}

namespace {

// The gradients of the weights that some sequences add up to.
struct Sums {
  Sums(float* data, int64_t tags)
      : start(data), end(start + tags), products(end + tags), rest(products + tags * tags) {}
  float *start, *end;
  float* products;  // [tags, tags]: times the factors, minus the gradient
  float* rest;      // [tags, tags]: of the gradient
  static int64_t size(int64_t tags) { return 2 * tags * (tags + 1); }
};

// p = the probabilities of the tags at a step, given the length; before = those one step earlier.
// row: alpha at the step, there: at the one before. Adds g times what transitions get.
void step_back(const Factors& factors, const float* row, const float* there, const float* emissions,
               const float* p, float g, int64_t tags, float* __restrict parts, float* before,
               const Sums& sums) {
  const float largest = largest_of(there, tags);
  const float* most = factors.largest();
  // Every tag's probability over the sum that it is a part of.
  for (int64_t j = 0; j < tags; ++j) {
    const float sum = exp_(row[j] - emissions[j] - most[j]);
    parts[j] = sum >= kLeast ? p[j] / sum : 0;
  }
  for (int64_t i = 0; i < tags; ++i) {
    const float a = exp_(there[i] - largest);
    const float* __restrict factor = factors.row(i);
    float* __restrict product = sums.products + i * tags;
    before[i] =
        a * static_cast<float>(sum_over(tags, [=](auto at) { return at(factor) * at(parts); }));
    const float ga = g * a;
    for (int64_t j = 0; j < tags; ++j) product[j] += ga * parts[j];
  }
  for (int64_t j = 0; j < tags; ++j) {
    if (parts[j] > 0 || p[j] == 0) continue;
    for (int64_t i = 0; i < tags; ++i) {
      const float x =
          p[j] * share_of(there[i] - largest + factors.transition(i, j), row[j] - emissions[j]);
      before[i] += x;
      sums.rest[i * tags + j] -= g * x;
    }
  }
  const auto scale = static_cast<float>(1 / sum_of(before, tags));
  for (int64_t i = 0; i < tags; ++i) before[i] *= scale;
}

void backward_of(const CrfBackwardArgs& args, const Factors& factors, int64_t i, const Sums& sums) {
  const CrfShape& shape = args.shape;
  const int64_t tags = shape.tags, length = args.lengths[i];
  const float g = args.dlikelihood[i];
  Scratch scratch(3 * tags);
  float *p = scratch.data(), *before = p + tags, *parts = before + tags;
  const auto row = [&](int64_t step) { return args.alpha + (i * shape.steps + step) * tags; };
  for (int64_t step = length; step < shape.steps; ++step) {
    copy_or_zero(args.demissions + row_of(shape, step, i) * tags, nullptr, tags);
  }
  const float* last = row(length - 1);
  float most = -INFINITY;
  for (int64_t j = 0; j < tags; ++j) {
    p[j] = last[j] + args.weights.end[j];
    most = p[j] > most ? p[j] : most;
  }
  for (int64_t j = 0; j < tags; ++j) p[j] = exp_(p[j] - most);
  const auto scale = static_cast<float>(1 / sum_of(p, tags));
  for (int64_t j = 0; j < tags; ++j) p[j] *= scale;
  for (int64_t j = 0; j < tags; ++j) sums.end[j] -= g * p[j];
  int64_t tag = args.path[row_of(shape, length - 1, i)];
  sums.end[tag] += g;
  for (int64_t step = length - 1;; --step) {
    const int64_t at = row_of(shape, step, i);
    float* out = args.demissions + at * tags;
    for (int64_t j = 0; j < tags; ++j) out[j] = -g * p[j];
    out[tag] += g;
    if (step == 0) break;
    step_back(factors, row(step), row(step - 1), args.emissions + at * tags, p, g, tags, parts,
              before, sums);
    const int64_t earlier = args.path[row_of(shape, step - 1, i)];
    sums.rest[earlier * tags + tag] += g;
    tag = earlier;
    float* other = p;
    p = before;
    before = other;
  }
  for (int64_t j = 0; j < tags; ++j) sums.start[j] -= g * p[j];
  sums.start[tag] += g;
}

}  // namespace

// Sums over the batch in a fixed number of parts, so that they do not depend on the threads.
void crf_backward(const CrfBackwardArgs& args, Context& context) {
  const CrfShape& shape = args.shape;
  const int64_t tags = shape.tags, size = Sums::size(tags);
  const int64_t parts = shape.batch < 16 ? shape.batch : 16;
  const Factors factors(args.weights, tags);
  Scratch scratch(parts * size);
  context.pool.parallel_for(parts, 1, [&](int64_t begin, int64_t end) {
    for (int64_t part = begin; part < end; ++part) {
      float* data = scratch.data() + part * size;
      copy_or_zero(data, nullptr, size);
      const Sums sums(data, tags);
      for (int64_t i = shape.batch * part / parts; i < shape.batch * (part + 1) / parts; ++i) {
        context.check_stop();
        backward_of(args, factors, i, sums);
      }
    }
  });
  float* data = scratch.data();
  for (int64_t part = 1; part < parts; ++part) {
    for (int64_t k = 0; k < size; ++k) data[k] += data[part * size + k];
  }
  const Sums sums(data, tags);
  copy_floats(args.dstart, sums.start, tags);
  copy_floats(args.dend, sums.end, tags);
  for (int64_t k = 0; k < tags * tags; ++k) {
    args.dtransitions[k] = sums.rest[k] - factors.row(0)[k] * sums.products[k];
  }
}

namespace {

void decode(const CrfDecodeArgs& args, int64_t i, int64_t length) {
  const CrfShape& shape = args.shape;
  const int64_t tags = shape.tags;
  Scratch scratch((length + 2) * tags);
  float *score = scratch.data(), *best = score + tags;
  auto* from = reinterpret_cast<int32_t*>(best + tags);  // [length, tags]
  const auto emissions = [&](int64_t step) {
    return args.emissions + row_of(shape, step, i) * tags;
  };
  for (int64_t j = 0; j < tags; ++j) score[j] = args.weights.start[j] + emissions(0)[j];
  for (int64_t step = 1; step < length; ++step) {
    int32_t* __restrict way = from + step * tags;
    float* __restrict most = best;
    for (int64_t j = 0; j < tags; ++j) {
      most[j] = score[0] + args.weights.transitions[j];
      way[j] = 0;
    }
    for (int64_t k = 1; k < tags; ++k) {
      const float* __restrict transitions = args.weights.transitions + k * tags;
      const float so_far = score[k];
      for (int64_t j = 0; j < tags; ++j) {
        const float x = so_far + transitions[j];
        way[j] = x > most[j] ? static_cast<int32_t>(k) : way[j];
        most[j] = x > most[j] ? x : most[j];
      }
    }
    for (int64_t j = 0; j < tags; ++j) score[j] = most[j] + emissions(step)[j];
  }
  int32_t tag = 0;
  for (int64_t j = 1; j < tags; ++j) {
    if (score[j] + args.weights.end[j] > score[tag] + args.weights.end[tag]) {
      tag = static_cast<int32_t>(j);
    }
  }
  for (int64_t step = shape.steps - 1; step >= length; --step) {
    args.path[row_of(shape, step, i)] = -1;
  }
  for (int64_t step = length - 1; step >= 0; --step) {
    args.path[row_of(shape, step, i)] = tag;
    if (step > 0) tag = from[step * tags + tag];
  }
}

}  // namespace

void crf_decode(const CrfDecodeArgs& args, Context& context) {
  const CrfShape& shape = args.shape;
  for (int64_t i = 0; i < shape.batch; ++i) length_of(shape, args.mask, i);
  each_sequence(shape, context,
                [&](int64_t i) { decode(args, i, length_of(shape, args.mask, i)); });
}

FUSED_RNN_KERNELS_END
