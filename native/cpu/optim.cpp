// Clipping and the optimisers: all tensors in one pass, as one long row of elements.
#include <math.h>
#include <string.h>

#include "core/empty_mean.h"
#include "core/failure.h"
#include "cpu/isa.h"
#include "ops/update_rules.h"

FUSED_RNN_KERNELS_BEGIN
namespace {

constexpr int64_t kBlock = 4096;

// Calls f(tensor, begin, end) for all elements of all tensors, over the threads.
template <class Size, class F>
void each_part(Context& context, int64_t count, Size size, F f) {
  int64_t total = 0;
  for (int64_t k = 0; k < count; ++k) total += size(k);
  context.pool.parallel_for(total, 4 * kBlock, [&](int64_t begin, int64_t end) {
    int64_t offset = 0;
    for (int64_t k = 0; k < count && offset < end; ++k) {
      const int64_t n = size(k);
      const int64_t from = begin > offset ? begin - offset : 0;
      const int64_t to = end - offset < n ? end - offset : n;
      if (from < to) f(k, from, to);
      offset += n;
    }
  });
}

// NaN when either is.
double larger(double a, double b) { return b > a || b != b ? b : a; }
double smaller(double a, double b) { return b < a || b != b ? b : a; }

// Of the 2-norm, which every training step may ask for.
double squares_of_block(const float* x, int64_t n) {
  constexpr int kSums = 32;  // more than the compiler unrolls before it vectorises
  double lanes[kSums] = {};
  int64_t i = 0;
  for (; i + kSums <= n; i += kSums) {
    for (int j = 0; j < kSums; ++j) {
      const double value = x[i + j];
      lanes[j] += value * value;
    }
  }
  for (int j = 0; i + j < n; ++j) {
    const double value = x[i + j];
    lanes[j] += value * value;
  }
  double sum = 0;
  for (int j = 0; j < kSums; ++j) sum += lanes[j];
  return sum;
}

// The p-norm: of elements, to be combined, and in the end.
struct Norm {
  double p;
  double none() const { return p == -INFINITY ? INFINITY : 0; }
  double combine(double a, double b) const {
    return p == INFINITY ? larger(a, b) : p == -INFINITY ? smaller(a, b) : a + b;
  }
  double of_block(const float* x, int64_t n) const {
    if (p == 2) return squares_of_block(x, n);
    const bool whole = p == 1 || fabs(p) == INFINITY;
    double total = none();
    for (int64_t i = 0; i < n; ++i) {
      const double value = fabsf(x[i]);
      total = combine(total, whole ? value : pow(value, p));
    }
    return total;
  }
  double finish(double total) const {
    if (p == 2) return sqrt(total);
    return p == 1 || fabs(p) == INFINITY ? total : pow(total, 1 / p);
  }
};

// How many blocks of kBlock elements tensors of size(k) elements have, for each k below count.
template <class Size>
int64_t blocks_of(int64_t count, Size size) {
  int64_t blocks = 0;
  for (int64_t k = 0; k < count; ++k) blocks += (size(k) + kBlock - 1) / kBlock;
  return blocks;
}

// Calls f(block, k, begin, length) for the elements of every block, over the threads.
template <class Size, class F>
void each_block(Context& context, int64_t count, Size size, F f) {
  context.pool.parallel_for(blocks_of(count, size), 4, [&](int64_t begin, int64_t end) {
    int64_t first = 0;
    for (int64_t k = 0; k < count && first < end; ++k) {
      const int64_t n = size(k);
      const int64_t here = (n + kBlock - 1) / kBlock;
      const int64_t from = begin > first ? begin - first : 0;
      const int64_t to = end - first < here ? end - first : here;
      for (int64_t b = from; b < to; ++b) {
        f(first + b, k, b * kBlock, b + 1 == here ? n - b * kBlock : kBlock);
      }
      first += here;
    }
  });
}

// The norm of tensors grad(k) of size(k) elements, for each k below count.
template <class Size, class Grad>
float norm_of(Context& context, int64_t count, Size size, Grad grad, Norm norm) {
  // Blocks and their order are fixed, so the sum does not depend on the threads.
  const int64_t blocks = blocks_of(count, size);
  Scratch scratch(2 * blocks);
  auto* parts = reinterpret_cast<double*>(scratch.data());
  each_block(context, count, size, [&](int64_t block, int64_t k, int64_t begin, int64_t length) {
    parts[block] = norm.of_block(grad(k) + begin, length);
  });
  double total = norm.none();
  for (int64_t b = 0; b < blocks; ++b) total = norm.combine(total, parts[b]);
  return static_cast<float>(norm.finish(total));
}

// The bits of infinity; those of NaN, without the sign, are larger, those of all others smaller.
constexpr int32_t kInfinityBits = 0x7f800000;

int32_t largest_bits(const float* x, int64_t n) {
  int32_t largest = 0;
  for (int64_t i = 0; i < n; ++i) {
    int32_t bits;
    memcpy(&bits, x + i, sizeof bits);
    bits &= 0x7fffffff;
    largest = bits > largest ? bits : largest;
  }
  return largest;
}

class Clipper {
 public:
  template <class Size, class Grad>
  Clipper(const Clip& clip, Context& context, int64_t count, Size size, Grad grad)
      : max_value_(clip.max_value) {
    if (clip.norm == nullptr && !clip.own_norm) return;
    const float norm = clip.own_norm ? norm_of(context, count, size, grad, {2}) : *clip.norm;
    scale_ = clip.max_norm / (norm + 1e-6f);
    if (scale_ > 1) scale_ = 1;
  }
  float operator()(float g) const {
    g *= scale_;
    g = g > max_value_ ? max_value_ : g;
    return g < -max_value_ ? -max_value_ : g;
  }

 private:
  float scale_ = 1;
  float max_value_;
};

}  // namespace

void grad_norm(const GradNormArgs& args, Context& context) {
  *args.norm = norm_of(
      context, args.count, [&](int64_t k) { return args.sizes[k]; },
      [&](int64_t k) { return args.grads[k]; }, {args.p});
}

void check_finite(const CheckFiniteArgs& args, Context& context) {
  const auto size = [&](int64_t k) { return args.sizes[k]; };
  Scratch scratch(blocks_of(args.count, size));
  auto* parts = reinterpret_cast<int32_t*>(scratch.data());
  each_block(context, args.count, size,
             [&](int64_t block, int64_t k, int64_t begin, int64_t length) {
               parts[block] = largest_bits(args.tensors[k] + begin, length);
             });
  const bool no_loss = args.count > 0 && args.sizes[0] == 1 && is_empty_mean(*args.tensors[0]);
  for (int64_t k = 0, block = 0; k < args.count; ++k) {
    int32_t largest = 0;
    for (int64_t begin = 0; begin < size(k); begin += kBlock, ++block) {
      largest = parts[block] > largest ? parts[block] : largest;
    }
    if (k == 0 && no_loss) continue;
    if (largest >= kInfinityBits) fail_finite(args.number, k, largest > kInfinityBits);
  }
}

void clip_grads(const ClipGradsArgs& args, Context& context) {
  const auto size = [&](int64_t k) { return args.sizes[k]; };
  const Clipper clip(args.clip, context, args.count, size,
                     [&](int64_t k) { return args.grads[k]; });
  each_part(context, args.count, size, [&](int64_t k, int64_t begin, int64_t end) {
    float* g = args.grads[k];
    for (int64_t i = begin; i < end; ++i) g[i] = clip(g[i]);
  });
}

void sgd(const SgdArgs& args, Context& context) {
  const auto size = [&](int64_t k) { return args.tensors[k].n; };
  const Clipper clip(args.clip, context, args.count, size,
                     [&](int64_t k) { return args.tensors[k].grad; });
  const float sign = args.maximize ? -1 : 1;
  const float fresh = 1 - args.dampening;
  each_part(context, args.count, size, [&](int64_t k, int64_t begin, int64_t end) {
    const SgdTensor& t = args.tensors[k];
    float* __restrict param = t.param;
    float* __restrict buffer = t.buffer;
    const float* __restrict grad = t.grad;
    const auto gradient = [&](int64_t i) {
      return sign * clip(grad[i]) + args.weight_decay * param[i];
    };
    if (buffer == nullptr) {
      for (int64_t i = begin; i < end; ++i) param[i] -= args.lr * gradient(i);
      return;
    }
    const float keep = t.first ? 0 : args.momentum;
    const float add = t.first ? 1 : fresh;
    const float own = args.nesterov ? 1 : 0;
    const float past = args.nesterov ? args.momentum : 1;
    for (int64_t i = begin; i < end; ++i) {
      const float g = gradient(i);
      buffer[i] = keep * buffer[i] + add * g;
      param[i] -= args.lr * (own * g + past * buffer[i]);
    }
  });
}

namespace {

// Elements [begin, end) of one tensor; `largest` is null without amsgrad.
template <bool amsgrad>
void adam_part(const AdamArgs& args, Clipper clip, const AdamTensor& t, int64_t begin,
               int64_t end) {
  float* __restrict param = t.param;
  float* __restrict mean = t.m;
  float* __restrict square = t.v;
  float* __restrict largest = t.v_max;
  const float* __restrict grad = t.grad;
  const float sign = args.maximize ? -1 : 1;
  const float weight_decay = args.weight_decay, shrink = args.shrink, eps = args.eps;
  const float one_minus_beta1 = args.one_minus_beta1;
  const float beta2 = args.beta2, one_minus_beta2 = args.one_minus_beta2;
  const float step_size = t.step_size, v_scale = t.v_scale;
  for (int64_t i = begin; i < end; ++i) {
    const float g = sign * clip(grad[i]) + weight_decay * param[i];
    const float m = mean[i] + one_minus_beta1 * (g - mean[i]);
    float v = beta2 * square[i] + one_minus_beta2 * g * g;
    mean[i] = m;
    square[i] = v;
    if (amsgrad) {
      v = largest[i] > v ? largest[i] : v;
      largest[i] = v;
    }
    param[i] = shrink * param[i] - step_size * m / (sqrtf(v) * v_scale + eps);
  }
}

}  // namespace

void adam(const AdamArgs& args, Context& context) {
  const auto size = [&](int64_t k) { return args.tensors[k].n; };
  const Clipper clip(args.clip, context, args.count, size,
                     [&](int64_t k) { return args.tensors[k].grad; });
  each_part(context, args.count, size, [&](int64_t k, int64_t begin, int64_t end) {
    const AdamTensor& t = args.tensors[k];
    if (t.v_max == nullptr) return adam_part<false>(args, clip, t, begin, end);
    adam_part<true>(args, clip, t, begin, end);
  });
}

namespace {

// Elements [begin, end) of one tensor.
template <class Rule>
void rule_part(const UpdateArgs& args, Clipper clip, const UpdateTensor& t, int64_t begin,
               int64_t end) {
  constexpr int kStates = Rule::kStates;
  const Rule rule(args.options, t.numbers);
  const float sign = args.maximize ? -1 : 1;
  const float weight_decay = args.weight_decay, shrink = args.shrink;
  float* __restrict param = t.param;
  const float* __restrict grad = t.grad;
  float* __restrict first = t.state[0];
  float* __restrict second = t.state[1];
  float* __restrict third = t.state[2];
  for (int64_t i = begin; i < end; ++i) {
    float s[kMostUpdateStates] = {kStates > 0 ? first[i] : 0, kStates > 1 ? second[i] : 0,
                                  kStates > 2 ? third[i] : 0};
    float p = param[i];
    const float g = sign * clip(grad[i]) + weight_decay * p;
    p *= shrink;
    rule(p, g, s);
    param[i] = p;
    if constexpr (kStates > 0) first[i] = s[0];
    if constexpr (kStates > 1) second[i] = s[1];
    if constexpr (kStates > 2) third[i] = s[2];
  }
}

// Elements [begin, end) of a gradient of some rows, row by row.
template <class Rule>
void rule_rows(const UpdateArgs& args, Clipper clip, const UpdateTensor& t, int64_t begin,
               int64_t end) {
  const int64_t width = t.width;
  UpdateTensor one = t;
  for (int64_t r = begin / width; r * width < end; ++r) {
    const int64_t row = t.rows[r];
    if (row < 0 || row >= t.height) continue;
    one.param = t.param + row * width;
    one.grad = t.grad + r * width;
    for (int j = 0; j < Rule::kStates; ++j) one.state[j] = t.state[j] + row * width;
    const int64_t from = begin > r * width ? begin - r * width : 0;
    rule_part<Rule>(args, clip, one, from, end - r * width < width ? end - r * width : width);
  }
}

}  // namespace

void optimizer_step(const UpdateArgs& args, Context& context) {
  const auto size = [&](int64_t k) { return args.tensors[k].n; };
  const Clipper clip(args.clip, context, args.count, size,
                     [&](int64_t k) { return args.tensors[k].grad; });
  with_rule(args.rule, [&]<class Rule>() {
    each_part(context, args.count, size, [&](int64_t k, int64_t begin, int64_t end) {
      const UpdateTensor& t = args.tensors[k];
      if (t.rows != nullptr) return rule_rows<Rule>(args, clip, t, begin, end);
      rule_part<Rule>(args, clip, t, begin, end);
    });
  });
}

FUSED_RNN_KERNELS_END
