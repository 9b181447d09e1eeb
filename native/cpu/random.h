// Random numbers of many elements at once, the same ones as philox() gives.
#pragma once

#include <cstring>

#include "core/random.h"
#include "cpu/isa.h"
#include "cpu/vector.h"

#if defined(__aarch64__)
#include <arm_neon.h>
#elif defined(__SSE2__)
#include <emmintrin.h>
#endif

FUSED_RNN_KERNELS_BEGIN

constexpr int64_t kWorthAThread = 1 << 13;    // numbers
constexpr int64_t kDrawnBlocks = 16;          // blocks that are drawn together
constexpr int64_t kDrawn = 4 * kDrawnBlocks;  // and their numbers

// A word of as many blocks, each in the low half of its lane.
typedef uint64_t PhiloxWords __attribute__((vector_size(kLanes * sizeof(float))));
constexpr int64_t kLaneBlocks = kLanes / 2;

// Products of low halves. From a plain `*` GCC makes those of whole lanes, which take longer.
inline PhiloxWords multiply_low(PhiloxWords x, uint32_t by) {
#if defined(__AVX512F__)
  const auto factor = _mm512_set1_epi64(by);
  return reinterpret_cast<PhiloxWords>(_mm512_mul_epu32(reinterpret_cast<__m512i>(x), factor));
#elif defined(__AVX2__)
  const auto factor = _mm256_set1_epi64x(by);
  return reinterpret_cast<PhiloxWords>(_mm256_mul_epu32(reinterpret_cast<__m256i>(x), factor));
#elif defined(__SSE2__)
  const auto factor = _mm_set1_epi64x(by);
  return reinterpret_cast<PhiloxWords>(_mm_mul_epu32(reinterpret_cast<__m128i>(x), factor));
#elif defined(__aarch64__)
  const auto low = vmovn_u64(reinterpret_cast<uint64x2_t>(x));
  return reinterpret_cast<PhiloxWords>(vmull_u32(low, vdup_n_u32(by)));
#else
  return (x & 0xffffffff) * by;
#endif
}

// philox() of kDrawnBlocks blocks from `index` on. High halves of lanes are left as they come: a product
// does not look at them. Two vectors take turns, as each round waits for the one before. Not inlined:
// within another loop GCC unrolls it, and it takes half as long again.
[[gnu::noinline]] inline void draw(uint64_t seed, uint64_t counter, uint64_t index,
                                   uint32_t* bits) {
  constexpr int64_t kAtOnce = 2;
  static_assert(kDrawnBlocks % (kAtOnce * kLaneBlocks) == 0);
  constexpr uint64_t kLow = 0xffffffff;
  uint64_t first[kDrawnBlocks], second[kDrawnBlocks];  // of each block two words
  for (int64_t j = 0; j < kDrawnBlocks; j += kAtOnce * kLaneBlocks) {
    PhiloxWords c0[kAtOnce]{}, c1[kAtOnce]{}, c2[kAtOnce]{}, c3[kAtOnce]{};
    for (int64_t v = 0; v < kAtOnce; ++v) {
      for (int64_t b = 0; b < kLaneBlocks; ++b) {
        c0[v][b] = index + static_cast<uint64_t>(j + v * kLaneBlocks + b);
      }
      c1[v] = c0[v] >> 32;
      c2[v] = PhiloxWords{} + (counter & kLow);
      c3[v] = PhiloxWords{} + (counter >> 32);
    }
    auto k0 = static_cast<uint32_t>(seed), k1 = static_cast<uint32_t>(seed >> 32);
    for (int round = 0; round < 10; ++round) {
      for (int64_t v = 0; v < kAtOnce; ++v) {
        const PhiloxWords p0 = multiply_low(c0[v], kPhiloxFirst);
        const PhiloxWords p1 = multiply_low(c2[v], kPhiloxThird);
        c0[v] = (p1 >> 32) ^ c1[v] ^ uint64_t { k0 };
        c1[v] = p1;
        c2[v] = (p0 >> 32) ^ c3[v] ^ uint64_t { k1 };
        c3[v] = p0;
      }
      k0 += kPhiloxLowKey;
      k1 += kPhiloxHighKey;
    }
    for (int64_t v = 0; v < kAtOnce; ++v) {
      const PhiloxWords pairs[2] = {(c0[v] & kLow) | c1[v] << 32, (c2[v] & kLow) | c3[v] << 32};
      std::memcpy(first + j + v * kLaneBlocks, &pairs[0], sizeof pairs[0]);
      std::memcpy(second + j + v * kLaneBlocks, &pairs[1], sizeof pairs[1]);
    }
  }
  uint64_t words[2 * kDrawnBlocks];
  for (int64_t j = 0; j < kDrawnBlocks; ++j) {
    words[2 * j] = first[j];
    words[2 * j + 1] = second[j];
  }
  std::memcpy(bits, words, sizeof words);
}

// Calls f(from, count, bits) for some elements after the others; four share a generator block, of
// which the first is `block`.
template <class F>
void each_random(Context& context, int64_t n, uint64_t seed, uint64_t counter, uint64_t block,
                 F f) {
  const int64_t groups = (n + kDrawn - 1) / kDrawn;
  context.pool.parallel_for(groups, kWorthAThread / kDrawn, [&](int64_t begin, int64_t end) {
    uint32_t bits[kDrawn];
    for (int64_t group = begin; group < end; ++group) {
      draw(seed, counter, block + static_cast<uint64_t>(group * kDrawnBlocks), bits);
      const int64_t from = group * kDrawn;
      const int64_t count = n - from < kDrawn ? n - from : kDrawn;
      f(from, count, bits);
    }
  });
}

FUSED_RNN_KERNELS_END
