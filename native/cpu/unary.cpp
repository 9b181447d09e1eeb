// Functions of one element and their derivatives.
#include <math.h>

#include <cstring>

#include "cells/math.h"
#include "cpu/isa.h"

FUSED_RNN_KERNELS_BEGIN

namespace {

template <class T, class F>
void apply(const UnaryArgs& args, Context& context, F f) {
  const T* in = static_cast<const T*>(args.in);
  T* out = static_cast<T*>(args.out);
  context.pool.parallel_for(args.n, 1 << 13, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) out[i] = f(in[i]);
  });
}

template <class F>
void apply_backward(const UnaryBackwardArgs& args, Context& context, F f) {
  context.pool.parallel_for(args.n, 1 << 13, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) args.dx[i] = f(args.dy[i], args.saved[i]);
  });
}

// In these forms NaN stays NaN.
template <class T>
T clamp_(T x, T low, T high) {
  x = x < low ? low : x;
  return x > high ? high : x;
}

int32_t to_int(double x) { return static_cast<int32_t>(clamp_(x, -2147483648.0, 2147483647.0)); }

double bits_as_double(uint64_t bits) {
  double x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}
uint64_t bits_of(double x) {
  uint64_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  return bits;
}

// log2 of a normal number > 0, to some 38 bits.
double log2_(double x) {
  // x = m * 2^n with m in [sqrt(1/2), sqrt(2)); log(m) = 2 atanh(s)
  const uint64_t bits = bits_of(x);
  const uint64_t high = bits - 0x3fe6a09e667f3bcd + 0x3ff0000000000000;  // n + 1023 on top
  // n as a double: 2^52 + (n + 1023), less that.
  const double n = bits_as_double((high >> 52) | 0x4330000000000000) - (0x1p52 + 1023);
  const double m = bits_as_double(bits - (high & 0xfff0000000000000) + 0x3ff0000000000000);
  const double s = (m - 1) / (m + 1), z = s * s;
  double q = z * (1.0 / 13) + 1.0 / 11;
  q = q * z + 1.0 / 9;
  q = q * z + 1.0 / 7;
  q = q * z + 1.0 / 5;
  q = q * z + 1.0 / 3;
  return n + 2.8853900817779268 * (s + s * z * q);  // 2 / ln(2)
}

// 2^x for |x| <= 1000, to some 33 bits.
double exp2_(double x) {
  constexpr double kRound = 0x1.8p52;  // adding it rounds to a whole number
  const double shifted = x + kRound, f = x - (shifted - kRound);
  // Powers of ln(2), over factorials.
  double q = f * 1.5252733804059841e-5 + 1.5403530393381608e-4;
  q = q * f + 1.3333558146428443e-3;
  q = q * f + 9.6181291076284772e-3;
  q = q * f + 5.5504108664821580e-2;
  q = q * f + 0.24022650695910072;
  q = q * f + 0.69314718055994531;
  q = q * f + 1;
  return q * bits_as_double((bits_of(shifted) + 1023) << 52);
}

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
    double e = p * log2_(inside);
    e = e < -kMost ? -kMost : e;
    e = e > kMost ? kMost : e;
    float y = static_cast<float>(exp2_(e));
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
    default:
      return;  // the other operations have no integers
  }
}

}  // namespace

void unary(const UnaryArgs& args, Context& context) {
  if (args.integer) return unary_integer(args, context);
  const auto p = static_cast<float>(args.p), q = static_cast<float>(args.q);
  switch (args.op) {
    case UnaryOp::neg:
      return apply<float>(args, context, [](float x) { return -x; });
    case UnaryOp::exp:
      return apply<float>(args, context, [](float x) { return exp_(x); });
    case UnaryOp::log:
      return apply<float>(args, context, [](float x) { return log_(x); });
    case UnaryOp::sqrt:
      return apply<float>(args, context, [](float x) { return sqrtf(x); });
    case UnaryOp::abs:
      return apply<float>(args, context, [](float x) { return fabsf(x); });
    case UnaryOp::pow:
      return with_power(p, [&](auto power) { apply<float>(args, context, power); });
    case UnaryOp::clamp:
      return apply<float>(args, context, [=](float x) { return clamp_(x, p, q); });
    case UnaryOp::tanh:
      return apply<float>(args, context, [](float x) { return tanh_(x); });
    case UnaryOp::sigmoid:
      return apply<float>(args, context, [](float x) { return sigmoid_(x); });
    case UnaryOp::relu:
      return apply<float>(args, context, [](float x) { return x < 0 ? 0 : x; });
  }
}

void unary_backward(const UnaryBackwardArgs& args, Context& context) {
  const auto p = static_cast<float>(args.p), q = static_cast<float>(args.q);
  switch (args.op) {
    case UnaryOp::neg:
      return apply_backward(args, context, [](float dy, float) { return -dy; });
    case UnaryOp::exp:
      return apply_backward(args, context, [](float dy, float y) { return dy * y; });
    case UnaryOp::log:
      return apply_backward(args, context, [](float dy, float x) { return dy / x; });
    case UnaryOp::sqrt:
      return apply_backward(args, context, [](float dy, float y) { return dy / (2 * y); });
    case UnaryOp::abs:
      return apply_backward(args, context, [](float dy, float x) {
        return x > 0 ? dy : x < 0 ? -dy : 0;
      });
    case UnaryOp::pow:
      if (p == 0) return apply_backward(args, context, [](float, float) { return 0.0f; });
      return with_power(p - 1, [&](auto power) {
        apply_backward(args, context, [=](float dy, float x) { return dy * (p * power(x)); });
      });
    case UnaryOp::clamp:
      return apply_backward(args, context,
                            [=](float dy, float x) { return x >= p && x <= q ? dy : 0; });
    case UnaryOp::tanh:
      return apply_backward(args, context, [](float dy, float y) { return dy * (1 - y * y); });
    case UnaryOp::sigmoid:
      return apply_backward(args, context, [](float dy, float y) { return dy * (y * (1 - y)); });
    case UnaryOp::relu:
      // A NaN lets the gradient through, so that it is not hidden.
      return apply_backward(args, context, [](float dy, float y) { return y <= 0 ? 0 : dy; });
  }
}

FUSED_RNN_KERNELS_END
