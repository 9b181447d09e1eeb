// One vector register's worth of floats, in the compiler's portable form.
#pragma once

#include <cstdint>
#include <cstring>

#include "cpu/isa.h"

#if defined(__AVX2__)
#include <immintrin.h>
#endif

FUSED_RNN_KERNELS_BEGIN

#if defined(__AVX512F__)
constexpr int kLanes = 16;
constexpr int kRegisters = 32;
#elif defined(__AVX2__)
constexpr int kLanes = 8;
constexpr int kRegisters = 16;
#elif defined(__aarch64__)
constexpr int kLanes = 4;
constexpr int kRegisters = 32;
#else
constexpr int kLanes = 4;
constexpr int kRegisters = 16;
#endif

typedef float Vec __attribute__((vector_size(kLanes * sizeof(float))));
typedef float UnalignedVec
    __attribute__((vector_size(kLanes * sizeof(float)), aligned(4), may_alias));

inline Vec load(const float* p) { return *reinterpret_cast<const UnalignedVec*>(p); }
inline void store(float* p, Vec v) { *reinterpret_cast<UnalignedVec*>(p) = v; }

// The first n of a vector's floats, n < kLanes, and `rest` in the other places.
#if defined(__AVX512F__)
inline __mmask16 first_lanes(int64_t n) { return static_cast<__mmask16>((1U << n) - 1); }
inline Vec load_part(const float* p, int64_t n, Vec rest = Vec{}) {
  return _mm512_mask_loadu_ps(rest, first_lanes(n), p);
}
inline void store_part(float* p, Vec v, int64_t n) { _mm512_mask_storeu_ps(p, first_lanes(n), v); }
#elif defined(__AVX2__)
inline __m256i first_lanes(int64_t n) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)),
                            _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
inline Vec load_part(const float* p, int64_t n, Vec rest = Vec{}) {
  const __m256i lanes = first_lanes(n);
  return _mm256_blendv_ps(rest, _mm256_maskload_ps(p, lanes), _mm256_castsi256_ps(lanes));
}
inline void store_part(float* p, Vec v, int64_t n) { _mm256_maskstore_ps(p, first_lanes(n), v); }
#else
inline Vec load_part(const float* p, int64_t n, Vec rest = Vec{}) {
  for (int64_t i = 0; i < n; ++i) rest[i] = p[i];
  return rest;
}
inline void store_part(float* p, Vec v, int64_t n) {
  for (int64_t i = 0; i < n; ++i) p[i] = v[i];
}
#endif

template <int lanes>
struct VecOf {
  typedef float type __attribute__((vector_size(lanes * sizeof(float))));
};

// All lanes in one, by halves.
template <int lanes, class F>
float fold_lanes(typename VecOf<lanes>::type v, F f) {
  if constexpr (lanes == 1) {
    return v[0];
  } else {
    typename VecOf<lanes / 2>::type halves[2];
    std::memcpy(halves, &v, sizeof v);
    return fold_lanes<lanes / 2>(f(halves[0], halves[1]), f);
  }
}
inline float sum_lanes(Vec v) {
  return fold_lanes<kLanes>(v, [](auto a, auto b) { return a + b; });
}
inline float max_lanes(Vec v) {
  return fold_lanes<kLanes>(v, [](auto a, auto b) { return a > b ? a : b; });
}

// What comparing two vectors gives: a lane has all bits or none.
typedef int32_t LaneMask __attribute__((vector_size(kLanes * sizeof(int32_t))));
inline bool any_lane(LaneMask mask) {
#if defined(__AVX512F__)
  const auto bits = reinterpret_cast<__m512i>(mask);
  return _mm512_test_epi32_mask(bits, bits) != 0;
#elif defined(__AVX2__)
  return _mm256_movemask_ps(reinterpret_cast<__m256>(mask)) != 0;
#else
  int32_t any = 0;
  for (int j = 0; j < kLanes; ++j) any |= mask[j];
  return any != 0;
#endif
}

inline int64_t round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

// ---- Loops over floats

inline void copy_floats(float* to, const float* from, int64_t n) {
  for (int64_t i = 0; i < n; ++i) to[i] = from[i];
}

inline void add_floats(float* to, const float* x, int64_t n) {
  for (int64_t i = 0; i < n; ++i) to[i] += x[i];
}

// Null means zeros.
inline void copy_or_zero(float* to, const float* from, int64_t n) {
  if (from != nullptr) {
    copy_floats(to, from, n);
  } else {
    for (int64_t i = 0; i < n; ++i) to[i] = 0;
  }
}

// f(j, read, write) for every register's worth of [0, count), the last one perhaps in part.
template <class F>
void each_vector(int64_t count, F f) {
  int64_t j = 0;
  for (; j + kLanes <= count; j += kLanes) f(j, load, store);
  if (j == count) return;
  const int64_t rest = count - j;
  f(
      j, [rest](const float* p) { return load_part(p, rest); },
      [rest](float* p, Vec v) { store_part(p, v, rest); });
}

FUSED_RNN_KERNELS_END
