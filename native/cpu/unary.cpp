// Functions of one element and their derivatives.
#include <math.h>

#include "cells/math.h"
#include "cpu/functions.h"
#include "cpu/isa.h"
#include "ops/functions.h"

FUSED_RNN_KERNELS_BEGIN

namespace {

// In a file of as many loops as this one the compiler stops inlining at some point, and does not
// vectorise a loop with a call: so it is told to.
#if defined(__GNUC__)
#define FUSED_RNN_INLINE_ALL __attribute__((flatten))
#else
#define FUSED_RNN_INLINE_ALL
#endif

template <class T, class F>
FUSED_RNN_INLINE_ALL void apply_part(const T* in, T* out, int64_t begin, int64_t end, F f) {
  for (int64_t i = begin; i < end; ++i) out[i] = f(in[i]);
}

template <class T, class F>
void apply(const UnaryArgs& args, Context& context, F f) {
  const T* in = static_cast<const T*>(args.in);
  T* out = static_cast<T*>(args.out);
  context.pool.parallel_for(
      args.n, 1 << 13, [&](int64_t begin, int64_t end) { apply_part(in, out, begin, end, f); });
}

template <class F>
FUSED_RNN_INLINE_ALL void backward_part(const float* dy, const float* saved, float* dx,
                                        int64_t begin, int64_t end, F f) {
  for (int64_t i = begin; i < end; ++i) dx[i] = f(dy[i], saved[i]);
}

template <class F>
void apply_backward(const UnaryBackwardArgs& args, Context& context, F f) {
  context.pool.parallel_for(args.n, 1 << 13, [&](int64_t begin, int64_t end) {
    backward_part(args.dy, args.saved, args.dx, begin, end, f);
  });
}

int32_t to_int(double x) { return static_cast<int32_t>(clamp_(x, -2147483648.0, 2147483647.0)); }

// x^p in a loop without branches, for finite p that is not 0: |x|^p = 2^(p log2 |x|) in doubles,
// rounded once. Numbers too small for a normal float count as 0.
struct Power {
  double p;
  bool whole, odd;

  explicit Power(float exponent)
      : p(exponent),
        whole(floor(p) == p),
        odd(whole && fabs(p) < 0x1p24 && static_cast<int64_t>(p) % 2 != 0) {}

  float operator()(float x) const {
    constexpr float kLeast = 1.17549435e-38f;  // normal
    constexpr double kMost = 1000;
    const float a = fabsf(x), inside = a >= kLeast && a < INFINITY ? a : 1.0f;
    double e = p * log2_of(inside);
    e = e < -kMost ? -kMost : e;
    e = e > kMost ? kMost : e;
    float y = static_cast<float>(exp2_of(e));
    y = a < kLeast ? (p > 0 ? 0.0f : INFINITY) : y;
    y = a == INFINITY ? (p > 0 ? INFINITY : 0.0f) : y;
    const float negative = whole ? (odd ? -y : y) : (a < kLeast || a == INFINITY ? y : NAN);
    y = copysignf(1, x) < 0 ? negative : y;
    return x == x ? y : x;
  }
};

// As x^(1/2), which knows no sign of 0 and infinity.
float square_root(float x) {
  const float ends = x == -INFINITY ? INFINITY : 0.0f;
  return x == 0 || x == -INFINITY ? ends : sqrtf(x);
}

// use(f) with a function f of one float that gives x^p; those of few products in that way.
template <class Use>
void with_power(float p, Use use) {
  if (p == 0) return use([](float) { return 1.0f; });
  if (p == 1) return use([](float x) { return x; });
  if (p == 2) return use([](float x) { return x * x; });
  if (p == 3) return use([](float x) { return x * x * x; });
  if (p == 0.5f) return use([](float x) { return square_root(x); });
  if (p == -0.5f) return use([](float x) { return 1 / square_root(x); });
  if (p == -1) return use([](float x) { return 1 / x; });
  if (p == -2) return use([](float x) { return 1 / (x * x); });
  if (fabsf(p) < INFINITY) return use(Power(p));
  use([=](float x) { return powf(x, p); });
}

void unary_integer(const UnaryArgs& args, Context& context) {
  const int32_t low = to_int(args.p), high = to_int(args.q);
  switch (args.op) {
    case UnaryOp::neg:  // unsigned numbers wrap around
      return apply<uint32_t>(args, context, [](uint32_t x) { return 0 - x; });
    case UnaryOp::abs:
      return apply<int32_t>(args, context, [](int32_t x) {
        const auto u = static_cast<uint32_t>(x);
        return static_cast<int32_t>(x < 0 ? 0 - u : u);
      });
    case UnaryOp::relu:
      return apply<int32_t>(args, context, [](int32_t x) { return x < 0 ? 0 : x; });
    case UnaryOp::clamp:
      return apply<int32_t>(args, context, [=](int32_t x) { return clamp_(x, low, high); });
    case UnaryOp::sign:
      return apply<int32_t>(args, context, [](int32_t x) { return (x > 0) - (x < 0); });
    case UnaryOp::square:
      return apply<uint32_t>(args, context, [](uint32_t x) { return x * x; });
    default:
      return;  // the other operations have no integers
  }
}

// out[i] = use(i, sine of x[i], `quarters` of a turn further on) for one block; in floats where all
// numbers are small, in doubles where they are not, and one by one beyond kPeriodic.
template <class Use>
FUSED_RNN_INLINE_ALL void sines_part(const float* x, float* out, int64_t from, int64_t to,
                                     uint32_t quarters, Use use) {
  int far = 0, beyond = 0;
  for (int64_t i = from; i < to; ++i) {
    far |= fabsf(x[i]) <= kNearPeriodic ? 0 : 1;  // NaN and infinity, too
    beyond |= fabsf(x[i]) <= kPeriodic ? 0 : 1;
  }
  if (far == 0) {
    for (int64_t i = from; i < to; ++i) out[i] = use(i, sine_in_floats(x[i], quarters));
    return;
  }
  for (int64_t i = from; i < to; ++i) {
    out[i] = use(i, static_cast<float>(sine_of(turn_of(x[i]), quarters)));
  }
  for (int64_t i = from; beyond != 0 && i < to; ++i) {
    if (fabsf(x[i]) <= kPeriodic) continue;
    const bool finite = fabsf(x[i]) < INFINITY;
    out[i] = use(i, finite ? static_cast<float>(sine_of(turn_of_far(x[i]), quarters)) : NAN);
  }
}

template <class Use>
void sines(const float* x, float* out, int64_t n, Context& context, uint32_t quarters, Use use) {
  constexpr int64_t kBlock = 512;
  context.pool.parallel_for(n, 1 << 13, [&](int64_t begin, int64_t end) {
    for (int64_t from = begin; from < end; from += kBlock) {
      sines_part(x, out, from, end - from < kBlock ? end : from + kBlock, quarters, use);
    }
  });
}

// The tangent, in the same way without floats. Returns whether there are numbers beyond.
FUSED_RNN_INLINE_ALL bool tangent_part(const float* x, float* out, int64_t begin, int64_t end) {
  int beyond = 0;
  for (int64_t i = begin; i < end; ++i) {
    beyond |= fabsf(x[i]) <= kPeriodic ? 0 : 1;
    out[i] = tan_(x[i]);
  }
  return beyond != 0;
}

void tangent(const UnaryArgs& args, Context& context) {
  const auto* x = static_cast<const float*>(args.in);
  auto* out = static_cast<float*>(args.out);
  context.pool.parallel_for(args.n, 1 << 13, [&](int64_t begin, int64_t end) {
    if (!tangent_part(x, out, begin, end)) return;
    for (int64_t i = begin; i < end; ++i) {
      if (fabsf(x[i]) <= kPeriodic) continue;
      out[i] = fabsf(x[i]) < INFINITY ? tangent_of(turn_of_far(x[i])) : NAN;
    }
  });
}

}  // namespace

void unary(const UnaryArgs& args, Context& context) {
  if (args.integer) return unary_integer(args, context);
  const auto p = static_cast<float>(args.p), q = static_cast<float>(args.q);
  const auto r = static_cast<float>(args.r);
  if (args.op == UnaryOp::pow) {
    return with_power(p, [&](auto power) { apply<float>(args, context, power); });
  }
  if (args.op == UnaryOp::sin || args.op == UnaryOp::cos) {
    return sines(static_cast<const float*>(args.in), static_cast<float*>(args.out), args.n, context,
                 args.op == UnaryOp::sin ? 0 : 1, [](int64_t, float y) { return y; });
  }
  if (args.op == UnaryOp::tan) return tangent(args, context);
  if (args.op == UnaryOp::gelu) {
    return apply<float>(args, context, [](float x) { return gelu_(x); });
  }
  if (args.op == UnaryOp::geluTanh) {
    return apply<float>(args, context, [](float x) { return gelu_by_tanh(x); });
  }
  switch (args.op) {
#define UNARY(name, value, gradient) \
  case UnaryOp::name:                \
    return apply<float>(args, context, [=](float x) -> float { return value; });
#include "ops/functions.def"
  }
  (void)q, (void)r;
}

void unary_backward(const UnaryBackwardArgs& args, Context& context) {
  const auto p = static_cast<float>(args.p), q = static_cast<float>(args.q);
  if (args.op == UnaryOp::pow && p != 0) {
    return with_power(p - 1, [&](auto power) {
      apply_backward(args, context, [=](float dy, float x) { return dy * (p * power(x)); });
    });
  }
  if (args.op == UnaryOp::sin || args.op == UnaryOp::cos) {  // cos(x), or -sin(x)
    const float* dy = args.dy;
    return sines(args.saved, args.dx, args.n, context, args.op == UnaryOp::sin ? 1 : 2,
                 [=](int64_t i, float y) { return dy[i] * y; });
  }
  // More exact than what functions.def says, or with parts in common.
  if (args.op == UnaryOp::erf) {
    return apply_backward(args, context, [](float dy, float x) { return dy * erf_slope(x); });
  }
  if (args.op == UnaryOp::gelu) {
    return apply_backward(args, context, [](float dy, float x) { return dy * gelu_slope(x); });
  }
  if (args.op == UnaryOp::geluTanh) {
    return apply_backward(args, context,
                          [](float dy, float x) { return dy * gelu_by_tanh_slope(x); });
  }
  switch (args.op) {
#define UNARY(name, value, gradient)                                           \
  case UnaryOp::name:                                                          \
    return apply_backward(args, context, [=](float dy, float saved) -> float { \
      [[maybe_unused]] const float x = saved, y = saved;                       \
      return gradient;                                                         \
    });
#include "ops/functions.def"
  }
}

FUSED_RNN_KERNELS_END
