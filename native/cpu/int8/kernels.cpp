// The int8 kernels, compiled once per instruction set, and once more with AVX512-VNNI. AVX-VNNI and
// ARM's usdot would have their place here: another `Sums`.
#include "cpu/int8/kernels.h"

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <cstring>
#include <limits>

#include "cpu/vector.h"

#if defined(__SSE4_1__)
#include <immintrin.h>
#endif

#define FUSED_RNN_STRING_(x) #x
#define FUSED_RNN_STRING(x) FUSED_RNN_STRING_(x)
#define FUSED_RNN_UNROLL _Pragma("GCC unroll 8")

FUSED_RNN_KERNELS_BEGIN
namespace {

typedef int32_t Ints __attribute__((vector_size(kLanes * sizeof(int32_t))));

// Smallest and largest of a row's values and 0, or whether one of them is not finite.
struct Range {
  float low = 0, high = 0;
  bool finite = true;
};

Range range_of(int64_t k, const float* from) {
  Vec low = Vec{}, high = Vec{};
  LaneMask bad = {};
  each_vector(k, [&](int64_t j, auto read, auto) {
    const Vec v = read(from + j);
    low = v < low ? v : low;
    high = v > high ? v : high;
    bad |= (reinterpret_cast<Ints>(v) & 0x7fffffff) >= 0x7f800000;
  });
  return {-max_lanes(-low), max_lanes(high), !any_lane(bad)};
}

// A scale, and what values are multiplied by; none where it would be a denormal number.
struct Scale {
  explicit Scale(double step) : scale(static_cast<float>(step)) {
    if (scale < FLT_MIN) scale = 0;
    inverse = scale > 0 ? 1 / scale : 0;
  }
  float scale, inverse;
};
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

// Of numbers far below 2^31.
int32_t nearest(float x) { return static_cast<int32_t>(std::nearbyint(x)); }

void quantize_row(int64_t k, const float* __restrict from, uint8_t* __restrict q, float& scale,
                  int32_t& zero) {
  const int64_t padded = int8_quads(k) * 4;
  const Range range = range_of(k, from);
  if (!range.finite) {
    scale = kNaN;
    zero = 0;
    std::memset(q, 0, static_cast<size_t>(padded));
    return;
  }
  const Scale of((static_cast<double>(range.high) - static_cast<double>(range.low)) / 255);
  const float inverse = of.inverse;
  const int32_t middle = std::clamp(nearest(-range.low * inverse), 0, 255);
  for (int64_t i = 0; i < k; ++i) {
    q[i] = static_cast<uint8_t>(std::clamp(nearest(from[i] * inverse) + middle, 0, 255));
  }
  for (int64_t i = k; i < padded; ++i) q[i] = 0;
  scale = of.scale;
  zero = middle;
}

void quantize_rows(int64_t rows, int64_t k, const float* from, int64_t ld, const Int8RowsOut& to) {
  for (int64_t r = 0; r < rows; ++r) {
    quantize_row(k, from + r * ld, to.q + r * to.ld, to.scales[r], to.zeros[r]);
  }
}

void pack(int64_t n, int64_t k, const float* w, int32_t* words, float* scales, int64_t first,
          int64_t last) {
  const int64_t quads = int8_quads(k), per_group = int8_panels(n);
  for (int64_t panel = first; panel < last; ++panel) {
    const int64_t row = panel % per_group * kInt8Rows;
    const int64_t at = panel / per_group * n + row, rows = std::min(kInt8Rows, n - row);
    int32_t* sums = words + panel * int8_panel_words(k);
    auto* bytes = reinterpret_cast<int8_t*>(sums + kInt8Rows);
    std::memset(sums, 0, static_cast<size_t>(int8_panel_words(k)) * sizeof(int32_t));
    for (int64_t r = 0; r < rows; ++r) {
      const float* from = w + (at + r) * k;
      const Range range = range_of(k, from);
      const Scale of(static_cast<double>(std::max(-range.low, range.high)) / 127);
      scales[at + r] = range.finite ? of.scale : kNaN;
      if (!range.finite) continue;
      int32_t sum = 0;
      for (int64_t quad = 0; quad < quads; ++quad) {
        int8_t* to = bytes + (quad * kInt8Rows + r) * 4;
        const int64_t count = std::min<int64_t>(4, k - quad * 4);
        for (int64_t i = 0; i < count; ++i) {
          const int32_t q = std::clamp(nearest(from[quad * 4 + i] * of.inverse), -127, 127);
          to[i] = static_cast<int8_t>(q);
          sum += q;
        }
      }
      sums[r] = sum;
    }
  }
}

// ---- Sums of a row of A and the rows of a panel --------------------------------------------------
//   Sums::Quad         four values of A, as they are multiplied
//   Sums::kRegisters   that the sums of a panel take
//   add(words, quad)   the products with the panel's word of each row
//   put(to)            the sums

#if defined(__AVX512VNNI__)
struct Sums {
  using Quad = __m512i;
  static constexpr int kRegisters = 1;
  static Quad quad(const uint8_t* q) {
    int32_t word;
    std::memcpy(&word, q, sizeof word);
    return _mm512_set1_epi32(word);
  }
  void add(const int32_t* words, Quad a) {
    sums = _mm512_dpbusd_epi32(sums, a, _mm512_loadu_si512(words));
  }
  void put(int32_t* to) const { _mm512_storeu_si512(to, sums); }

  __m512i sums = _mm512_setzero_si512();
};
#elif defined(__SSE4_1__)
// As words of 16 bits, whose products in pairs are exact; so each row has two sums.
template <int>
struct Wide;
#if defined(__AVX512F__)
template <>
struct Wide<512> {
  using Type = __m512i;
  static Type spread(__m128i quad) { return _mm512_set1_epi64(_mm_cvtsi128_si64(quad)); }
  static Type load(const int8_t* p) {
    return _mm512_cvtepi8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  static Type add(Type sums, Type a, Type b) {
    return _mm512_add_epi32(sums, _mm512_madd_epi16(a, b));
  }
};
using W = Wide<512>;
#elif defined(__AVX2__)
template <>
struct Wide<256> {
  using Type = __m256i;
  static Type spread(__m128i quad) { return _mm256_broadcastq_epi64(quad); }
  static Type load(const int8_t* p) {
    return _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  static Type add(Type sums, Type a, Type b) {
    return _mm256_add_epi32(sums, _mm256_madd_epi16(a, b));
  }
};
using W = Wide<256>;
#else
template <>
struct Wide<128> {
  using Type = __m128i;
  static Type spread(__m128i quad) { return _mm_unpacklo_epi64(quad, quad); }
  static Type load(const int8_t* p) {
    return _mm_cvtepi8_epi16(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
  }
  static Type add(Type sums, Type a, Type b) { return _mm_add_epi32(sums, _mm_madd_epi16(a, b)); }
};
using W = Wide<128>;
#endif

struct Sums {
  using Quad = W::Type;
  static constexpr int kBytes = sizeof(W::Type) / 2;  // of weights, of a register
  static constexpr int kRegisters = 64 / kBytes;
  static Quad quad(const uint8_t* q) {
    int32_t word;
    std::memcpy(&word, q, sizeof word);
    return W::spread(_mm_cvtepu8_epi16(_mm_cvtsi32_si128(word)));
  }
  void add(const int32_t* words, Quad a) {
    const auto* bytes = reinterpret_cast<const int8_t*>(words);
    FUSED_RNN_UNROLL for (int i = 0; i < kRegisters; ++i) {
      sums[i] = W::add(sums[i], W::load(bytes + i * kBytes), a);
    }
  }
  void put(int32_t* to) const {
    int32_t halves[2 * kInt8Rows];
    std::memcpy(halves, sums, sizeof halves);
    for (int i = 0; i < kInt8Rows; ++i) to[i] = halves[2 * i] + halves[2 * i + 1];
  }

  W::Type sums[kRegisters] = {};
};
#else
struct Sums {
  using Quad = const uint8_t*;
  static constexpr int kRegisters = 4 * kInt8Rows / kLanes;
  static Quad quad(const uint8_t* q) { return q; }
  void add(const int32_t* words, Quad a) {
    const auto* bytes = reinterpret_cast<const int8_t*>(words);
    for (int i = 0; i < kInt8Rows; ++i) {
      for (int j = 0; j < 4; ++j) sums[i] += bytes[4 * i + j] * a[j];
    }
  }
  void put(int32_t* to) const { std::memcpy(to, sums, sizeof sums); }

  int32_t sums[kInt8Rows] = {};
};
#endif

// ---- Tiles: R rows of A times V panels ------------------------------------------------------------

struct TileArgs {
  int64_t quads;
  const uint8_t* a;
  int64_t lda;
  const int32_t* panels;
  int64_t panel_words;
  const float* a_scales;
  const int32_t* zeros;
  const float* w_scales;
  float* c;
  int64_t ldc;
  const float* start;
  int64_t start_ld;
  int64_t columns;
};

// Columns of a row: the sums become float32.
inline void finish(int64_t count, const int32_t* sums, const int32_t* row_sums, int32_t zero,
                   float a_scale, const float* w_scales, const float* start, float* c) {
  if (start != nullptr) {
    for (int64_t j = 0; j < count; ++j) {
      const auto sum = static_cast<float>(sums[j] - zero * row_sums[j]);
      c[j] = sum * (a_scale * w_scales[j]) + start[j];
    }
  } else {
    for (int64_t j = 0; j < count; ++j) {
      const auto sum = static_cast<float>(sums[j] - zero * row_sums[j]);
      c[j] = sum * (a_scale * w_scales[j]);
    }
  }
}

template <int R, int V>
void tile(const TileArgs& t) {
  Sums sums[R][V];
  const uint8_t* __restrict a = t.a;
  const int32_t* __restrict words = t.panels + kInt8Rows;
  const int64_t lda = t.lda, step = t.panel_words;
  for (int64_t i = 0; i < t.quads; ++i) {
    FUSED_RNN_UNROLL for (int r = 0; r < R; ++r) {
      const auto quad = Sums::quad(a + r * lda + 4 * i);
      FUSED_RNN_UNROLL for (int v = 0; v < V; ++v) {
        sums[r][v].add(words + v * step + i * kInt8Rows, quad);
      }
    }
  }
  int32_t out[R][V][kInt8Rows];
  FUSED_RNN_UNROLL for (int r = 0; r < R; ++r) {
    FUSED_RNN_UNROLL for (int v = 0; v < V; ++v) sums[r][v].put(out[r][v]);
  }
  for (int r = 0; r < R; ++r) {
    for (int v = 0; v < V; ++v) {
      const int64_t column = v * kInt8Rows, count = std::min(kInt8Rows, t.columns - column);
      const float* start = t.start != nullptr ? t.start + r * t.start_ld + column : nullptr;
      float* c = t.c + r * t.ldc + column;
      const int32_t* row_sums = t.panels + v * step;
      const float* scales = t.w_scales + column;
      if (count == kInt8Rows) {
        finish(kInt8Rows, out[r][v], row_sums, t.zeros[r], t.a_scales[r], scales, start, c);
      } else {
        finish(count, out[r][v], row_sums, t.zeros[r], t.a_scales[r], scales, start, c);
      }
    }
  }
}

using Tile = void (*)(const TileArgs&);

constexpr int kSumRegisters = kRegisters == 32 ? 24 : 8;
constexpr int kMostPanels = std::clamp(kSumRegisters / Sums::kRegisters, 1, 4);
template <int V>
constexpr int kMostRows = std::clamp(kSumRegisters / (V * Sums::kRegisters), 1, 6);

template <int R, int V>
constexpr Tile tile_if_it_fits() {
  if constexpr (V <= kMostPanels && R <= kMostRows<V>) {
    return &tile<R, V>;
  } else {
    return nullptr;
  }
}
template <int V>
constexpr Tile kTiles[6] = {tile_if_it_fits<1, V>(), tile_if_it_fits<2, V>(),
                            tile_if_it_fits<3, V>(), tile_if_it_fits<4, V>(),
                            tile_if_it_fits<5, V>(), tile_if_it_fits<6, V>()};
struct Tiles {
  const Tile* of_rows;
  int most_rows;
};
constexpr Tiles kTilesOf[4] = {{kTiles<1>, kMostRows<1>},
                               {kTiles<2>, kMostRows<2>},
                               {kTiles<3>, kMostRows<3>},
                               {kTiles<4>, kMostRows<4>}};

void multiply(const Int8Matrix& w, int64_t k, int64_t m, int64_t columns, const Int8Rows& a,
              float* c, int64_t ldc, const float* start, int64_t start_ld) {
  const int64_t panel_words = int8_panel_words(k);
  for (int64_t j = 0; j < columns; j += kMostPanels * kInt8Rows) {
    const int64_t count = std::min<int64_t>(columns - j, kMostPanels * kInt8Rows);
    const Tiles& tiles = kTilesOf[int8_panels(count) - 1];
    TileArgs t{.quads = int8_quads(k),
               .a = a.q,
               .lda = a.ld,
               .panels = w.words + j / kInt8Rows * panel_words,
               .panel_words = panel_words,
               .a_scales = a.scales,
               .zeros = a.zeros,
               .w_scales = w.scales + j,
               .c = c + j,
               .ldc = ldc,
               .start = start != nullptr ? start + j : nullptr,
               .start_ld = start_ld,
               .columns = count};
    for (int64_t row = 0; row < m;) {
      const int64_t rows = std::min<int64_t>(m - row, tiles.most_rows);
      tiles.of_rows[rows - 1](t);
      row += rows;
      t.a += rows * a.ld;
      t.a_scales += rows;
      t.zeros += rows;
      t.c += rows * ldc;
      if (start != nullptr) t.start += rows * start_ld;
    }
  }
}

}  // namespace

extern const Int8Kernels int8;
const Int8Kernels int8 = {FUSED_RNN_STRING(FUSED_RNN_ISA), &quantize_rows, &pack, &multiply};

FUSED_RNN_KERNELS_END
