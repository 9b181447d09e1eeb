// Random fills, dropout, sampling and one-hot rows.
#include "core/random.h"

#include <math.h>

#include <cstring>

#include "cells/math.h"
#include "core/failure.h"
#include "cpu/isa.h"
#include "cpu/random.h"

FUSED_RNN_KERNELS_BEGIN
namespace {

constexpr int64_t kGrain = 1 << 13;

double bits_as_double(uint64_t bits) {
  double x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}

// Box and Muller: two uniform numbers give two normal ones. In doubles, rounded where libm's floats
// were, so that every instruction set gives the same.
void normal_numbers(const uint32_t* bits, float mean, float deviation, float* out) {
  constexpr int64_t kPairs = kDrawn / 2;
  constexpr double kRound = 0x1.8p52;  // adding it rounds to a whole number
  float radius[kPairs], cosine[kPairs], sine[kPairs];
  for (int64_t i = 0; i < kPairs; ++i) {
    // u = m * 2^n in (0, 1], m in [sqrt(1/2), sqrt(2)); log(m) = 2 atanh(s)
    const auto u = static_cast<double>(static_cast<int32_t>(bits[2 * i] >> 8) + 1);
    uint64_t b;
    std::memcpy(&b, &u, sizeof b);
    const uint64_t high = b - 0x3fe6a09e667f3bcd + 0x3ff0000000000000;
    const double n = bits_as_double((high >> 52) | 0x4330000000000000) - (0x1p52 + 1023 + 24);
    const double m = bits_as_double(b - (high & 0xfff0000000000000) + 0x3ff0000000000000);
    const double s = (m - 1) / (m + 1), z = s * s;
    double q = z * (1.0 / 15) + 1.0 / 13;
    q = q * z + 1.0 / 11;
    q = q * z + 1.0 / 9;
    q = q * z + 1.0 / 7;
    q = q * z + 1.0 / 5;
    q = q * z + 1.0 / 3;
    const double log = n * 0.69314718055994531 + 2 * (s + s * z * q);
    radius[i] = deviation * sqrtf(-2 * static_cast<float>(log));
  }
  for (int64_t i = 0; i < kPairs; ++i) {
    // angle = quarters * pi / 2 + r, |r| <= pi / 4
    const auto angle = static_cast<double>(6.28318530718f * uniform(bits[2 * i + 1]));
    const double quarters = angle * 0.63661977236758134 + kRound;
    const double r = angle - (quarters - kRound) * 1.5707963267948966, z = r * r;
    double s = z * 2.7557319223985893e-6 - 1.9841269841269841e-4;
    s = s * z + 8.3333333333333333e-3;
    s = s * z - 0.16666666666666667;
    s = s * z * r + r;
    double c = z * -2.7557319223985888e-7 + 2.4801587301587302e-5;
    c = c * z - 1.3888888888888889e-3;
    c = c * z + 4.1666666666666667e-2;
    c = c * z - 0.5;
    c = c * z + 1;
    uint64_t k;
    std::memcpy(&k, &quarters, sizeof k);
    const bool across = (k & 1) != 0;
    const double x = across ? s : c, y = across ? c : s;
    cosine[i] = static_cast<float>(((k + 1) & 2) != 0 ? -x : x);
    sine[i] = static_cast<float>((k & 2) != 0 ? -y : y);
  }
  for (int64_t i = 0; i < kPairs; ++i) {
    out[2 * i] = mean + radius[i] * cosine[i];
    out[2 * i + 1] = mean + radius[i] * sine[i];
  }
}

}  // namespace

void random(const RandomArgs& args, Context& context) {
  if (args.kind == RandomKind::uniform) {
    each_random(context, args.n, args.seed, args.counter, 0,
                [&](int64_t from, int64_t count, const uint32_t* bits) {
                  for (int64_t i = 0; i < count; ++i) {
                    args.out[from + i] = args.a + (args.b - args.a) * uniform(bits[i]);
                  }
                });
    return;
  }
  if (args.kind == RandomKind::integer) {
    auto* out = reinterpret_cast<int32_t*>(args.out);
    const auto low = static_cast<uint32_t>(args.low);
    const auto range = static_cast<uint64_t>(args.range);
    each_random(context, args.n, args.seed, args.counter, 0,
                [&](int64_t from, int64_t count, const uint32_t* bits) {
                  for (int64_t i = 0; i < count; ++i) {
                    const auto offset = static_cast<uint32_t>(bits[i] * range >> 32);
                    out[from + i] = static_cast<int32_t>(low + offset);
                  }
                });
    return;
  }
  if (args.kind == RandomKind::boolean) {
    auto* out = reinterpret_cast<uint8_t*>(args.out);
    // uniform(bits) < a, in whole numbers.
    const auto below = static_cast<uint32_t>(ceil(static_cast<double>(args.a) * (1 << 24)));
    each_random(context, args.n, args.seed, args.counter, 0,
                [&](int64_t from, int64_t count, const uint32_t* bits) {
                  // Local, since a byte that is written may, for all the compiler knows, belong to
                  // what is captured.
                  uint8_t* const to = out + from;
                  const uint32_t limit = below;
                  for (int64_t i = 0; i < count; ++i) to[i] = (bits[i] >> 8) < limit ? 1 : 0;
                });
    return;
  }
  each_random(context, args.n, args.seed, args.counter, 0,
              [&](int64_t from, int64_t count, const uint32_t* bits) {
                float values[kDrawn];
                normal_numbers(bits, args.a, args.b, values);
                for (int64_t i = 0; i < count; ++i) args.out[from + i] = values[i];
              });
}

void dropout(const DropoutArgs& args, Context& context) {
  const float scale = args.p < 1 ? 1 / (1 - args.p) : 0;
  each_random(context, args.n, args.seed, args.counter, 0,
              [&](int64_t from, int64_t count, const uint32_t* bits) {
                for (int64_t i = 0; i < count; ++i) {
                  const bool keep = uniform(bits[i]) >= args.p;
                  const float value = args.in[from + i] * scale;
                  args.out[from + i] = keep ? value : 0;
                }
              });
}

void one_hot(const OneHotArgs& args, Context& context) {
  for (int64_t i = 0; i < args.n; ++i) {
    const int64_t index = args.indices[i];
    if (index < 0 || index >= args.classes) {
      fail_index("oneHot", "indices", i, index, args.classes);
    }
  }
  if (args.out == nullptr) return;
  context.pool.parallel_for(args.n, kGrain / (args.classes + 1) + 1,
                            [&](int64_t begin, int64_t end) {
                              for (int64_t i = begin; i < end; ++i) {
                                float* row = args.out + i * args.classes;
                                for (int64_t c = 0; c < args.classes; ++c) row[c] = 0;
                                row[args.indices[i]] = 1;
                              }
                            });
}

namespace {

int64_t largest(const float* row, int64_t classes) {
  int64_t best = 0;
  for (int64_t c = 1; c < classes; ++c) {
    if (row[c] > row[best]) best = c;
  }
  return best;
}

// An unsigned number in the order of the floats.
uint32_t ordered(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

// The k largest: those above `key`, and the first `ties` that equal it.
struct Cut {
  uint32_t key;
  int64_t ties;
};

// Finds the key of the k-th largest, eight bits at a time from the top.
Cut cut_at(const float* row, int64_t classes, int64_t k) {
  uint32_t key = 0;
  for (int shift = 24; shift >= 0; shift -= 8) {
    const uint32_t mask = shift == 24 ? 0 : ~0u << (shift + 8);
    int64_t counts[256] = {};
    for (int64_t c = 0; c < classes; ++c) {
      const uint32_t x = ordered(row[c]);
      if ((x & mask) == key) counts[(x >> shift) & 255] += 1;
    }
    int bin = 255;
    for (; bin > 0 && counts[bin] < k; --bin) k -= counts[bin];
    key |= static_cast<uint32_t>(bin) << shift;
  }
  return {key, k};
}

}  // namespace

void sample(const SampleArgs& args, Context& context) {
  const int64_t classes = args.classes;
  context.pool.parallel_for(args.n, kGrain / (classes + 1) + 1, [&](int64_t begin, int64_t end) {
    Scratch scratch(classes);
    float* p = scratch.data();
    for (int64_t i = begin; i < end; ++i) {
      const float* row = args.logits + i * classes;
      const int64_t best = largest(row, classes);
      const float max = row[best];
      for (int64_t c = 0; c < classes; ++c) {
        if (row[c] != row[c]) fail("sample", "logits: expected numbers, got NaN");
      }
      if (max - max != 0) fail("sample", "logits: expected a finite largest logit in every row");
      if (args.temperature == 0 || args.top_k == 1) {
        args.out[i] = static_cast<int32_t>(best);
        continue;
      }
      for (int64_t c = 0; c < classes; ++c) p[c] = exp_((row[c] - max) / args.temperature);
      if (args.top_k > 0 && args.top_k < classes) {
        Cut cut = cut_at(row, classes, args.top_k);
        for (int64_t c = 0; c < classes; ++c) {
          const uint32_t x = ordered(row[c]);
          const bool keep = x > cut.key || (x == cut.key && cut.ties-- > 0);
          if (!keep) p[c] = 0;
        }
      }
      double total = 0;
      for (int64_t c = 0; c < classes; ++c) total += p[c];
      const RandomBlock block = philox(args.seed, args.counter, static_cast<uint64_t>(i));
      const uint64_t bits = (uint64_t{block.x[0]} << 21) ^ (block.x[1] >> 11);
      double rest = total * (static_cast<double>(bits) * 0x1p-53);
      int64_t chosen = best;  // stands when rounding leaves a rest beyond the last class
      for (int64_t c = 0; c < classes; ++c) {
        rest -= p[c];
        if (rest < 0) {
          chosen = c;
          break;
        }
      }
      args.out[i] = static_cast<int32_t>(chosen);
    }
  });
}

FUSED_RNN_KERNELS_END
