// exp, log, sigmoid and tanh without branches or tables, so that loops over them vectorise.
// Largest relative errors over all finite floats, against double: sigmoid 1.5e-7, exp 2e-7 (4e-6
// above 88), log 1.2e-7 (absolute around 1). tanh: 1.6 units in the last place. gate: absolute
// error 2e-7. At infinity tanh, sigmoid and gate are exactly -1, 0 and 1. NaN stays NaN.
//
// Included inside the namespace of an instruction set (cpu/isa.h), so that copies compiled with
// different flags never mix.
#pragma once

#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>

#include "core/random.h"  // FUSED_RNN_HD

namespace fused_rnn {
#if defined(FUSED_RNN_ISA)
namespace FUSED_RNN_ISA {
#endif

namespace detail {

// Constants, because code for a GPU may not call std::numeric_limits' functions.
constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kSmallestNormal = std::numeric_limits<float>::min();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

// 2^n for a whole number n. F is float or one of the compiler's vectors of floats (cpu/vector.h),
// whose operators and ?: work lane by lane.
template <class F>
FUSED_RNN_HD inline F power_of_two(F n) {
#if !defined(__CUDACC__)
  if constexpr (!std::is_same_v<F, float>) {
    using Bits = decltype(n < n);
    return reinterpret_cast<F>((__builtin_convertvector(n, Bits) + 127) << 23);
  } else
#endif
  {
    // Added to 1.5 * 2^23, n is in the last bits; so there is no cast, which NaN does not have.
    const float shifted = n + 12582912.0f;
    uint32_t bits;
    std::memcpy(&bits, &shifted, sizeof bits);
    bits = (bits + 127) << 23;
    float scale;
    std::memcpy(&scale, &bits, sizeof scale);
    return scale;
  }
}

// exp(x) = scale * (1 + p), scale a power of two; for |x| <= 88.
template <class F>
struct SplitExp {
  F scale;
  F p;
};

template <class F>
FUSED_RNN_HD inline SplitExp<F> split_exp(F x) {
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it rounds to a whole number
  const F n = (x * 1.44269504088896341f + kRound) - kRound;
  const F r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  // exp(r) - 1 on |r| <= ln(2) / 2: r + r^2 * (Taylor, last coefficients minimax)
  F q = r * 1.9875691500e-4f + 1.3981999507e-3f;
  q = q * r + 8.3334519073e-3f;
  q = q * r + 4.1665795894e-2f;
  q = q * r + 1.6666665459e-1f;
  q = q * r + 5.0000001201e-1f;
  const F p = q * (r * r) + r;
  return {power_of_two(n), p};
}

template <class F>
FUSED_RNN_HD inline F clamp(F x, float low, float high) {
  x = x < low ? low + F{} : x;  // in this order NaN passes
  return x > high ? high + F{} : x;
}

}  // namespace detail

template <class F>
FUSED_RNN_HD inline F exp_(F x) {
  constexpr float kLn2 = 0.693147181f;
  // One power of two more than a float's exponent can scale by.
  const auto e = detail::split_exp(detail::clamp(x > 88.0f ? x - kLn2 : x, -87.0f, 88.1f));
  F y = e.scale * e.p + e.scale;
  y = x > 88.0f ? y * 2.0f : y;
  y = x > 88.7228394f ? detail::kInfinity + F{} : y;
  return x < -87.0f ? F{} : y;
}

// Numbers too small for a normal float count as 0.
FUSED_RNN_HD inline float log_(float x) {
  // x = m * 2^n with m in [sqrt(1/2), sqrt(2))
  int32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  const int32_t n = (bits - 0x3f3504f3) >> 23;
  bits -= static_cast<int32_t>(static_cast<uint32_t>(n) << 23);
  float m;
  std::memcpy(&m, &bits, sizeof m);
  const float r = m - 1.0f;
  const float scale = static_cast<float>(n);
  // log(1 + r) = r - r^2 / 2 + r^3 * q
  float q = 7.0376836292e-2f;
  q = q * r - 1.1514610310e-1f;
  q = q * r + 1.1676998740e-1f;
  q = q * r - 1.2420140846e-1f;
  q = q * r + 1.4249322787e-1f;
  q = q * r - 1.6668057665e-1f;
  q = q * r + 2.0000714765e-1f;
  q = q * r - 2.4999993993e-1f;
  q = q * r + 3.3333331174e-1f;
  const float z = r * r;
  float y = q * r * z - scale * 2.12194440e-4f;
  y = (r + (y - 0.5f * z)) + scale * 0.693359375f;
  y = x < detail::kSmallestNormal ? -detail::kInfinity : y;
  y = x < 0 ? detail::kNaN : y;
  return x < detail::kInfinity ? y : x;  // infinity and NaN
}

template <class F>
FUSED_RNN_HD inline F sigmoid_(F x) {
  constexpr float kLeast = -87.3365f;  // below, the result is too small for a normal float
  const auto e = detail::split_exp(detail::clamp(-x, -87.0f, 88.0f));
  const F y = 1.0f / (1.0f + (e.scale * e.p + e.scale));
  return x < kLeast ? F{} : y;
}

namespace detail {

template <class F>
FUSED_RNN_HD inline F magnitude(F x) {
#if !defined(__CUDACC__)
  if constexpr (!std::is_same_v<F, float>) {
    using Bits = decltype(x < x);
    return reinterpret_cast<F>(reinterpret_cast<Bits>(x) & std::numeric_limits<int32_t>::max());
  } else
#endif
  {
    return x < 0 ? -x : x;
  }
}

// y >= 0 with the sign of x.
template <class F>
FUSED_RNN_HD inline F with_sign(F y, F x) {
#if !defined(__CUDACC__)
  if constexpr (!std::is_same_v<F, float>) {
    using Bits = decltype(x < x);
    constexpr int32_t kSign = std::numeric_limits<int32_t>::min();
    return reinterpret_cast<F>(reinterpret_cast<Bits>(y) | (reinterpret_cast<Bits>(x) & kSign));
  } else
#endif
  {
    return x < 0 ? -y : y;
  }
}

}  // namespace detail

// log(sigmoid(x)) and its derivative sigmoid(-x), of any finite x without overflow.
template <class F>
struct LogSigmoid {
  F value, derivative;
};
template <class F>
FUSED_RNN_HD inline LogSigmoid<F> log_sigmoid_(F x) {
  const F u = exp_(-detail::magnitude(x));
  // log(1 + u) = 2 atanh(u / (2 + u)), u in [0, 1]: a series in s^2 up to 1/9
  const F s = u / (2.0f + u), t = s * s;
  F q = t * 7.6923077e-2f + 9.0909091e-2f;
  q = q * t + 0.11111111f;
  q = q * t + 0.14285714f;
  q = q * t + 0.2f;
  q = q * t + 0.33333333f;
  const F log = 2.0f * (s + s * t * q), least = x > 0 ? F{} : x;
  return {least - log, (x > 0 ? u : 1.0f + F{}) / (1.0f + u)};
}

// Near 0 x + x^3 R(x^2), from 0.625 on 1 - 2 / (exp(2 |x|) + 1), which rounds the small part only.
template <class F>
FUSED_RNN_HD inline F tanh_(F x) {
  constexpr float kNear = 0.625f, kOne = 9.1f, kRound = 12582912.0f, kTwoLog2E = 2.88539008f;
  const F t = x * x;
  F r = t * -5.70499e-3f + 2.063909e-2f;
  r = r * t - 5.373971e-2f;
  r = r * t + 0.13331442f;
  r = r * t - 0.33333282f;
  const F near = r * (t * x) + x;
  F a = detail::magnitude(x);
  a = a > kOne ? kOne + F{} : a;
  // exp(2a) = 2^n * 2^f, |f| <= 1/2
  const F n = (a * kTwoLog2E + kRound) - kRound;
  const F f = a * kTwoLog2E - n;
  F q = f * 1.5353362e-4f + 1.3398874e-3f;
  q = q * f + 9.6184374e-3f;
  q = q * f + 5.5503325e-2f;
  q = q * f + 0.24022648f;
  q = q * f + 0.6931472f;
  const F scale = detail::power_of_two(n);
  const F y = 1.0f - 2.0f / ((q * f) * scale + (scale + 1.0f));
  return a < kNear ? near : detail::with_sign(y, x);
}

// A gate's sigmoid: to an absolute error, which is what a factor between 0 and 1 needs. It is
// (1 + tanh(x / 2)) / 2 with tanh(x) = x P(x^2) / Q(x^2), minimax on [-8.2, 8.2]: two short sums
// side by side are done sooner than the one long one of an exponential.
template <class F>
FUSED_RNN_HD inline F gate_(F x) {
  constexpr float kEnd = 8.2f;
  const F h = x * 0.5f;
  const F t = h * h;
  F p = t * 2.2356709e-11f - 1.4305439e-8f;
  p = p * t + 9.7572430e-6f;
  p = p * t + 2.9732427e-3f;
  p = p * t + 0.12967684f;
  p = p * t + 0.99999998f;
  F q = t * 2.3542122e-4f + 2.3976887e-2f;
  q = q * t + 0.46300996f;
  q = q * t + 1.0f;
  F y = (h * p / q) * 0.5f + 0.5f;
  y = x > 2 * kEnd ? 1.0f + F{} : y;
  return x < -2 * kEnd ? F{} : y;
}

#if defined(FUSED_RNN_ISA)
}  // namespace FUSED_RNN_ISA
#endif
}  // namespace fused_rnn
