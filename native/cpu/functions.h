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

// log(1 + x), in floats: within 2 units.
inline float log1p_(float x) {
  // 1 + x = m * 2^n with m in [sqrt(1/2), sqrt(2)); `lost` is what the sum has lost.
  const float u = 1 + x, lost = x < 1 ? x - (u - 1) : 1 - (u - x);
  int32_t bits;
  std::memcpy(&bits, &u, sizeof bits);
  const int32_t n = (bits - 0x3f3504f3) >> 23;
  bits -= static_cast<int32_t>(static_cast<uint32_t>(n) << 23);
  float m;
  std::memcpy(&m, &bits, sizeof m);
  const int32_t scale_bits = (127 - (n > 126 ? 126 : n)) << 23;  // 2^-n
  float scale;
  std::memcpy(&scale, &scale_bits, sizeof scale);
  const float r = (m - 1) + lost * scale, k = static_cast<float>(n);
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
  float y = q * r * z - k * 2.12194440e-4f;
  y = (r + (y - 0.5f * z)) + k * 0.693359375f;
  y = x <= -1 ? (x < -1 ? NAN : -INFINITY) : y;
  return x < INFINITY ? y : x;  // infinity and NaN
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

// Sine and cosine, for numbers up to kPeriodic; beyond, the loops take turn_of_far() (unary.cpp).
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
// Of finite numbers beyond kPeriodic (Payne and Hanek 1983): x * 2 / pi modulo 4, of the bits of 2 / pi
// that count. Not by the system's sine, which on Windows knows no numbers beyond 2^63.
inline Turn turn_of_far(float x) {
  typedef unsigned __int128 Wide;
  // 32 zeros, then 2 / pi behind the point.
  constexpr uint32_t kBits[] = {0,          0xA2F9836E, 0x4E441529, 0xFC2757D1,
                                0xF534DDC0, 0xDB629599, 0x3C439041, 0xFE5163AB};
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  const uint32_t exponent = bits >> 23 & 255, mantissa = (bits & 0x7fffff) | 0x800000;
  // x = mantissa * 2^(exponent - 150). Bits before the one that gives 2 * mantissa are whole turns.
  const uint32_t start = 32 + exponent - 152, word = start / 32;
  const Wide high = Wide{kBits[word]} << 32 | kBits[word + 1];
  const Wide low = Wide{kBits[word + 2]} << 32 | kBits[word + 3];
  const Wide product = ((high << 64 | low) << start % 32 >> 32) * mantissa << 32;
  const auto quarter = static_cast<uint64_t>(product >> 126);
  // To the nearest quarter.
  const auto rest = static_cast<int64_t>(static_cast<uint64_t>(product >> 62));
  const double angle = static_cast<double>(rest) * (0x1p-64 * 1.5707963267948966);
  const uint64_t nearest = quarter + (rest < 0 ? 1 : 0);
  return x < 0 ? Turn{-angle, 0 - nearest} : Turn{angle, nearest};
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
inline float tangent_of(Turn turn) {
  return static_cast<float>(sine_of(turn, 0) / sine_of(turn, 1));
}
inline float tan_(float x) { return tangent_of(turn_of(x)); }

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

// In floats: within 2 units.
inline float erf_(float x) {
  const float b = fabsf(x), a = b > 4 ? 4.0f : b, z = b * b;
  float q = z * 7.8538600e-5f - 8.0101932e-4f;
  q = q * z + 5.1883276e-3f;
  q = q * z - 2.6853812e-2f;
  q = q * z + 0.11283585f;
  q = q * z - 0.37612626f;
  const float near = b + b * (q * z + 0.12837917f);
  // 1 - e^(-a^2) times the above, of fewer terms: what is taken from 1 may be less exact.
  const float t = 1 / (1 + 0.5f * a);
  float r = t * 7.7703358e-2f - 0.17445334f;
  r = r * t + 1.0031962e-2f;
  r = r * t + 0.11723239f;
  r = r * t + 0.15231572f;
  r = r * t + 0.25468349f;
  r = r * t + 0.28067852f;
  r = r * t + 0.28223091f;
  r = r * t - 5.4521706e-6f;
  const float y = b < 1 ? near : 1 - exp_(-a * a) * r;
  return x < 0 ? -y : x == x ? y : x;
}
inline float erf_slope(float in) {
  const double x = in;
  return static_cast<float>(1.1283791670955126 * exp_of(-x * x));
}

// The normal distribution up to x, (1 + erf(x / sqrt(2))) / 2, without its loss of digits below 0,
// and e^(-x^2 / 2), which are 0 beyond 13. In floats but for the last steps, which are in doubles.
struct Normal {
  double cdf, gaussian;
};
inline Normal normal_of(float x) {
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it rounds to a whole number
  const float b = fabsf(x), c = b > 13 ? 13.0f : b;
  // c^2 = high^2, which needs no rounding, and the rest.
  uint32_t bits;
  std::memcpy(&bits, &c, sizeof bits);
  bits &= 0xfffff000;
  float high;
  std::memcpy(&high, &bits, sizeof high);
  const float square = -0.5f * high * high, rest = 0.5f * (c - high) * (c + high);
  // e^(-c^2 / 2) = 2^n (1 + p), as in cells/math.h
  const float n = (square * 1.44269504088896341f + kRound) - kRound;
  const float r = ((square - n * 0.693359375f) + n * 2.12194440e-4f) - rest;
  float p = r * 1.9875691500e-4f + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + r;
  const float scale = b > 13 ? 0.0f : detail::power_of_two(n);
  const double e = static_cast<double>(scale) * p + scale;
  // e^(c^2 / 2) (1 - erf(c / sqrt(2))) = t q(u), t = 1 / (1 + c / sqrt(8)), u from its middle, where
  // the coefficients are small.
  const float near = 1 / (1 + c * 0.353553391f), v = near - 0.588231564f;
  float f = v * 1.4395607e-2f - 5.8315174e-2f;
  f = f * v + 1.1604126e-3f;
  f = f * v + 0.11203852f;
  f = f * v - 4.6223891e-2f;
  f = f * v - 0.20523884f;
  f = f * v + 7.8428665e-2f;
  f = f * v + 0.58887130f;
  // A step of Newton's makes t exact.
  const double t = near * (2 - (1 + c * 0.35355339059327378) * near), u = t - 0.588231564;
  const double q = (f * u + 0.7886970039) * u + 0.5758610827;
  const double far = 0.5 * e * (t * q);
  return {x < 0 ? far : 1 - far, e};
}
// x times it, and the derivative of that, within a unit. Infinity gives NaN, as in PyTorch.
inline float normal_cdf_(float x) { return static_cast<float>(normal_of(x).cdf); }
inline float gelu_(float x) { return static_cast<float>(x * normal_of(x).cdf); }
inline float gelu_slope(float x) {
  const Normal normal = normal_of(x);
  return static_cast<float>(normal.cdf + x * (0.39894228040143268 * normal.gaussian));
}
// The same by a hyperbolic tangent: (1 + tanh(u)) / 2 is the sigmoid of 2u.
inline double gelu_sigmoid(double x) {
  const double s = 1 / (1 + exp_of(-1.5957691216057308 * (x + 0.044715 * x * x * x)));
  return x < -20 ? 0.0 : s;
}
inline float gelu_by_tanh(float in) {
  const double x = in;
  return static_cast<float>(x * gelu_sigmoid(x));
}
inline float gelu_by_tanh_slope(float in) {
  const double x = in, s = gelu_sigmoid(x);
  return static_cast<float>(s + x * s * (1 - s) * (1.5957691216057308 * (1 + 0.134145 * x * x)));
}

FUSED_RNN_KERNELS_END
