// Functions of a float that loops vectorise: no branches, no tables. Those that compute in doubles
// round once: within 0.7 units in the last place; the others say what they are within. Numbers too
// small for a normal float count as 0. NaN stays NaN. The names are those of cuda/functions.h, so that
// one table (ops/functions.def) serves both. Coefficients without a name are minimax fits.
#pragma once

#include <math.h>

#include <cstdint>
#include <cstring>

#include "cells/math.h"
#include "cpu/isa.h"

FUSED_RNN_KERNELS_BEGIN

inline double bits_as_double(uint64_t bits) {
  double x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}
inline uint64_t bits_of(double x) {
  uint64_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  return bits;
}

constexpr double kRoundDouble = 0x1.8p52;  // adding it rounds to a whole number
constexpr double kLn2 = 0.69314718055994531, kLog2E = 1.4426950408889634;

// In this form NaN stays NaN.
inline double limit(double x, double low, double high) {
  x = x < low ? low : x;
  return x > high ? high : x;
}

// log2 of a normal number > 0, to some 38 bits.
inline double log2_of(double x) {
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
inline double exp2_of(double x) {
  const double shifted = x + kRoundDouble, f = x - (shifted - kRoundDouble);
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

// e^x, for any x; what is beyond a float's range is 0 or infinite as a float.
inline double exp_of(double x) { return exp2_of(limit(x * kLog2E, -400, 400)); }

// log2 of a float: of numbers below the normal ones -infinity, of those below 0 NaN.
inline double log2_of_float(float x) {
  const bool inside = x >= 1.17549435e-38f && x < INFINITY;
  double y = log2_of(inside ? static_cast<double>(x) : 1.0);
  y = x < 1.17549435e-38f ? (x < 0 ? static_cast<double>(NAN) : -INFINITY) : y;
  return x < INFINITY ? y : static_cast<double>(x);  // infinity and NaN
}
inline float log2_(float x) { return static_cast<float>(log2_of_float(x)); }
inline float log10_(float x) { return static_cast<float>(log2_of_float(x) * 0.30102999566398120); }

inline float exp2_(float x) { return static_cast<float>(exp2_of(limit(x, -400, 400))); }

// e^x - 1
inline double expm1_of(double x) {
  // Taylor where the difference would lose digits.
  double q = x * (1.0 / 39916800) + 1.0 / 3628800;
  q = q * x + 1.0 / 362880;
  q = q * x + 1.0 / 40320;
  q = q * x + 1.0 / 5040;
  q = q * x + 1.0 / 720;
  q = q * x + 1.0 / 120;
  q = q * x + 1.0 / 24;
  q = q * x + 1.0 / 6;
  q = q * x + 0.5;
  const double near = q * (x * x) + x, far = exp_of(x) - 1;
  return x > -0.6 && x < 0.6 ? near : far;
}
inline float expm1_(float x) { return static_cast<float>(expm1_of(x)); }

// log(1 + x)
inline float log1p_(float in) {
  const double x = in;
  const bool inside = x > -1 && x < static_cast<double>(INFINITY);
  const double far = kLn2 * log2_of(inside ? 1 + x : 1.0);
  const double near = x - x * x * (0.5 - x * (1.0 / 3));
  double y = x > -1e-4 && x < 1e-4 ? near : far;
  y = x <= -1 ? (x < -1 ? static_cast<double>(NAN) : -INFINITY) : y;
  return static_cast<float>(x < static_cast<double>(INFINITY) ? y : x);
}

// log(1 + e^x), within 3 units.
inline float softplus_(float x) {
  const float e = exp_(x < 0 ? x : -x), u = 1 + e;
  // What 1 + e has lost, over the derivative of the logarithm.
  const float y = log_(u) + (e - (u - 1)) / u;
  return (x > 0 ? x : x == x ? 0 : x) + y;
}

inline float sinh_(float in) {
  const double x = in, a = fabs(x);
  const double t = expm1_of(a > 100 ? 100.0 : a);
  const double y = 0.5 * (t + t / (t + 1));
  return static_cast<float>(x < 0 ? -y : x == x ? y : x);
}
inline float cosh_(float in) {
  const double x = in, e = exp_of(fabs(x));
  return static_cast<float>(x == x ? 0.5 * (e + 1 / e) : x);
}

// Sine and cosine, for numbers up to kPeriodic; beyond, the loops call the system's (unary.cpp).
constexpr float kPeriodic = 1e6f;

// x less n times a quarter of a turn, in [-pi/4, pi/4]; n in the last bits of `quarter`.
struct Turn {
  double rest;
  uint64_t quarter;
};
inline Turn turn_of(double x) {
  const double shifted = x * 0.63661977236758134 + kRoundDouble;  // 2 / pi
  const double n = shifted - kRoundDouble;
  // pi / 2 in two parts, the first short enough for a product without rounding.
  const double rest = (x - n * 0x1.921fb544p0) - n * 0x1.0b4611a626331p-34;
  return {rest, bits_of(shifted)};
}
inline double sine_near(double r) {
  const double z = r * r;
  double q = z * 2.717149011501298e-06 - 0.0001983917794314763;
  q = q * z + 0.008333328688775463;
  q = q * z - 0.16666666630431767;
  return r + r * z * q;
}
inline double cosine_near(double r) {
  const double z = r * r;
  double q = z * -2.7167809733253496e-07 + 2.4798841832008178e-05;
  q = q * z - 0.0013888879922592783;
  q = q * z + 0.041666666533469704;
  q = q * z - 0.4999999999927004;
  return q * z + 1;
}
// The sine, `quarters` of a turn further on.
inline double sine_of(Turn turn, uint64_t quarters) {
  const uint64_t quarter = turn.quarter + quarters;
  const double s = sine_near(turn.rest), c = cosine_near(turn.rest);
  const double y = (quarter & 1) != 0 ? c : s;
  return (quarter & 2) != 0 ? -y : y;
}
inline float sin_(float x) { return static_cast<float>(sine_of(turn_of(x), 0)); }
inline float cos_(float x) { return static_cast<float>(sine_of(turn_of(x), 1)); }
inline float tan_(float x) {
  const Turn turn = turn_of(x);
  return static_cast<float>(sine_of(turn, 0) / sine_of(turn, 1));
}

// For |x| <= kNearPeriodic, in floats: within 2 units.
constexpr float kNearPeriodic = 512;

// The sine, `quarters` of a turn further on.
inline float sine_in_floats(float x, uint32_t quarters) {
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it rounds to a whole number
  // pi / 2 in parts, the first two short enough for products without rounding.
  constexpr float kThird = 7.549790126e-8f, kFourth = -1.71512450e-15f;
  const float shifted = x * 0.636619772f + kRound, n = shifted - kRound;
  uint32_t quarter;
  std::memcpy(&quarter, &shifted, sizeof quarter);
  quarter += quarters;
  const float r = (((x - n * 1.5703125f) - n * 4.8375129699707031e-4f) - n * kThird) - n * kFourth;
  const float z = r * r;
  float s = z * -1.9501788e-4f + 8.3320162e-3f;
  s = s * z - 0.1666665f;
  s = r + r * z * s;
  float c = z * 2.4372636e-5f - 1.3886529e-3f;
  c = c * z + 4.1666613e-2f;
  c = c * z - 0.5f;
  c = c * z + 1;
  const float y = (quarter & 1) != 0 ? c : s;
  return (quarter & 2) != 0 ? -y : y;
}

// For x >= 0, infinity too.
inline double atan_of(double x) {
  const bool turned = x > 1;
  const double a = turned ? 1 / x : x;
  const bool far = a > 0.41421356237309503;  // tan(pi / 8)
  const double z = far ? (a - 1) / (a + 1) : a, t = z * z;
  double q = t * -0.03771328173955924 + 0.06977698988895656;
  q = q * t - 0.08993381075661817;
  q = q * t + 0.11103554092168223;
  q = q * t - 0.14285392411809053;
  q = q * t + 0.1999999322186678;
  q = q * t - 0.3333333327873873;
  double y = z + z * t * q;
  y = far ? y + 0.78539816339744831 : y;
  return turned ? 1.5707963267948966 - y : y;
}
// In floats: within 2 units.
inline float atan_(float x) {
  const float b = fabsf(x);
  const bool turned = b > 1;
  const float a = turned ? 1 / b : b, t = a * a;
  float q = t * 2.8498520e-3f - 1.6068479e-2f;
  q = q * t + 4.2691276e-2f;
  q = q * t - 7.5042740e-2f;
  q = q * t + 0.10640924f;
  q = q * t - 0.14203642f;
  q = q * t + 0.19992619f;
  q = q * t - 0.33333073f;
  float y = a + a * t * q;
  y = turned ? 1.57079633f - y : y;
  return x < 0 ? -y : x == x ? y : x;
}
inline float asin_(float in) {
  const double x = in, a = fabs(x), y = atan_of(a / sqrt((1 - a) * (1 + a)));
  return static_cast<float>(a <= 1 ? (x < 0 ? -y : y) : NAN);
}
inline float acos_(float in) {
  const double x = in, y = 2 * atan_of(sqrt((1 - x) / (1 + x)));
  return static_cast<float>(fabs(x) <= 1 ? y : NAN);
}

// e^(x^2) (1 - erf(x)), for x in [0.99, 9.4]
inline float scaled_erfc(float x) {
  const float t = 1 / (1 + 0.5f * x);
  float q = t * 7.7703358e-2f - 0.17445334f;
  q = q * t + 1.0031962e-2f;
  q = q * t + 0.11723239f;
  q = q * t + 0.15231572f;
  q = q * t + 0.25468349f;
  q = q * t + 0.28067852f;
  q = q * t + 0.28223091f;
  return q * t - 5.4521706e-6f;
}
// For |x| <= 1.
inline float erf_near(float x) {
  const float z = x * x;
  float q = z * 7.8538577e-5f - 8.0101925e-4f;
  q = q * z + 5.1883276e-3f;
  q = q * z - 2.6853812e-2f;
  q = q * z + 0.11283585f;
  q = q * z - 0.37612626f;
  return x * (q * z + 1.12837917f);
}
// In floats: within 2 units.
inline float erf_(float x) {
  const float b = fabsf(x), a = b > 9 ? 9.0f : b;
  const float y = b < 1 ? erf_near(b) : 1 - exp_(-a * a) * scaled_erfc(a);
  return x < 0 ? -y : x == x ? y : x;
}
// The normal distribution up to x: (1 + erf(x / sqrt(2))) / 2, without its loss of digits: within
// 3 units near 0, and x^2 far below.
inline float normal_cdf_(float x) {
  const float b = fabsf(x), c = b > 13 ? 13.0f : b, a = c * 0.707106781f;
  const float near = 0.5f + 0.5f * erf_near(x * 0.707106781f);
  const float far = 0.5f * exp_(-0.5f * c * c) * scaled_erfc(a);
  const float y = a < 1 ? near : x < 0 ? far : 1 - far;
  return x == x ? y : x;
}

FUSED_RNN_KERNELS_END
