// The bfloat16 kernels, compiled once per instruction set, and once more with AVX512-BF16. An ARM
// processor's bfmmla would have its place here: another `Pairs`.
#include "cpu/bf16/kernels.h"

#include <cstring>

#include "cpu/tile.h"
#include "cpu/vector.h"

#define FUSED_RNN_STRING_(x) #x
#define FUSED_RNN_STRING(x) FUSED_RNN_STRING_(x)

FUSED_RNN_KERNELS_BEGIN
namespace {

typedef uint32_t Bits __attribute__((vector_size(kLanes * sizeof(uint32_t))));

Bits bits_of(Vec v) { return reinterpret_cast<Bits>(v); }

// To nearest, even on a tie; denormal numbers become zero, NaN stays NaN. The lower half is zero.
Bits rounded(Vec value) {
#if defined(__AVX512F__)
  const auto v = reinterpret_cast<__m512>(value);
  const __m512i x = _mm512_castps_si512(v);
  const auto all = [](uint32_t bits) { return _mm512_set1_epi32(static_cast<int>(bits)); };
  const __mmask16 is_nan = _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q);
  const __mmask16 is_normal = _mm512_test_epi32_mask(x, all(0x7f800000u));
  const __m512i odd = _mm512_and_epi32(_mm512_srli_epi32(x, 16), all(1));
  const __m512i sum = _mm512_add_epi32(_mm512_add_epi32(x, all(0x7fff)), odd);
  const __m512i nearest = _mm512_mask_or_epi32(sum, is_nan, x, all(0x00400000u));
  const __m512i sign = _mm512_and_epi32(x, all(0x80000000u));
  return reinterpret_cast<Bits>(_mm512_mask_and_epi32(sign, is_normal, nearest, all(0xffff0000u)));
#else
  const Bits x = bits_of(value);
  const Bits magnitude = x & 0x7fffffffu, sign = x & 0x80000000u;
  const Bits nearest = (x + 0x7fffu + ((x >> 16) & 1u)) & 0xffff0000u;
  const Bits is_nan = reinterpret_cast<Bits>(magnitude > 0x7f800000u);
  const Bits is_small = reinterpret_cast<Bits>(magnitude < 0x00800000u);
  const Bits normal = (is_nan & ((x | 0x00400000u) & 0xffff0000u)) | (~is_nan & nearest);
  return (is_small & sign) | (~is_small & normal);
#endif
}

#if defined(__AVX512BF16__)
struct Pairs {
  static constexpr int kWords = 1;

  static void multiply_add(Vec& sum, float a, Vec b) {
    sum = reinterpret_cast<Vec>(
        _mm512_dpbf16_ps(reinterpret_cast<__m512>(sum),
                         reinterpret_cast<__m512bh>(_mm512_castps_si512(_mm512_set1_ps(a))),
                         reinterpret_cast<__m512bh>(b)));
  }
  // Two rows' values: the words of their pairs.
  static void put(Vec first, Vec second, float* to, int64_t) {
    const __m512bh halves =
        _mm512_cvtne2ps_pbh(reinterpret_cast<__m512>(second), reinterpret_cast<__m512>(first));
    // From each half in turn: 0, 16, 1, 17, ...
    const __m512i step = _mm512_set1_epi32(0x00010001);
    __m512i order = _mm512_mullo_epi32(
        step, _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
    order = _mm512_add_epi16(order, _mm512_set1_epi32(0x00100000));
    const __m512i pairs = _mm512_permutexvar_epi16(order, reinterpret_cast<__m512i>(halves));
    std::memcpy(to, &pairs, sizeof pairs);
  }
  // 2 * kLanes values that lie side by side.
  static void put_neighbours(const float* from, float* to) {
    const __m512bh pairs = _mm512_cvtne2ps_pbh(reinterpret_cast<__m512>(load(from + kLanes)),
                                               reinterpret_cast<__m512>(load(from)));
    std::memcpy(to, &pairs, sizeof pairs);
  }
};
#else
struct Pairs {
  static constexpr int kWords = 2;

  static void multiply_add(Vec& sum, float a, Vec b) { sum += a * b; }
  static void put(Vec first, Vec second, float* to, int64_t width) {
    store(to, reinterpret_cast<Vec>(rounded(second)));
    store(to + width, reinterpret_cast<Vec>(rounded(first)));
  }
  static void put_neighbours(const float* from, float* to) {
    for (int half = 0; half < 2; ++half) {
      const Vec v = reinterpret_cast<Vec>(rounded(load(from + half * kLanes)));
      Vec swapped;
      for (int i = 0; i < kLanes; ++i) swapped[i] = v[i ^ 1];
      store(to + half * kLanes, swapped);
    }
  }
};
#endif

int64_t words_of(int64_t k) { return (k + 1) / 2 * Pairs::kWords; }

void round_rows(int64_t rows, int64_t k, const float* from, int64_t ld, float* to, int64_t to_ld) {
  constexpr int64_t kValues = 2 * kLanes;
  for (int64_t r = 0; r < rows; ++r) {
    const float* row = from + r * ld;
    float* out = to + r * to_ld;
    int64_t i = 0;
    for (; i + kValues <= k; i += kValues) Pairs::put_neighbours(row + i, out + words_of(i));
    if (i == k) continue;
    float rest[kValues] = {}, words[kValues];
    copy_floats(rest, row + i, k - i);
    Pairs::put_neighbours(rest, words);
    copy_floats(out + words_of(i), words, words_of(k - i));
  }
}

void round_columns(int64_t k, int64_t n, int64_t width, const float* from, int64_t ld, float* to) {
  for (int64_t i = 0; i < k; i += 2) {
    const float* first = from + i * ld;
    const bool two = i + 1 < k;
    float* out = to + words_of(i) * width;
    int64_t j = 0;
    for (; j + kLanes <= n; j += kLanes) {
      Pairs::put(load(first + j), two ? load(first + ld + j) : Vec{}, out + j, width);
    }
    if (j == width) continue;
    const int64_t rest = n - j;
    float words[Pairs::kWords * kLanes];
    Pairs::put(load_part(first + j, rest), two ? load_part(first + ld + j, rest) : Vec{}, words,
               kLanes);
    for (int w = 0; w < Pairs::kWords; ++w) {
      copy_floats(out + w * width + j, words + w * kLanes, width - j);
    }
  }
}

// ---- Tiles, as those of tile.cpp ---------------------------------------------------------------

struct TileArgs {
  int64_t words;
  const float* a;
  int64_t lda;
  const float* b;
  float* c;
  int64_t ldc;
  const float* start;
  int64_t start_ld;
  int64_t columns;
};

#define FUSED_RNN_UNROLL _Pragma("GCC unroll 8")

template <int R, int V, bool k_major>
void tile(const TileArgs& t) {
  Vec sums[R][V];
  FUSED_RNN_UNROLL for (int r = 0; r < R; ++r) {
    FUSED_RNN_UNROLL for (int v = 0; v < V; ++v) sums[r][v] = Vec{};
  }
  FUSED_RNN_UNROLL for (int r = 0; r < R; ++r) {
    const float* from = t.start != nullptr ? t.start + r * t.start_ld : t.c + r * t.ldc;
    FUSED_RNN_UNROLL for (int j = 0; j < V * kLanes; j += 16) __builtin_prefetch(from + j, 1);
  }
  const float* __restrict a = t.a;
  const float* __restrict b = t.b;
  const int64_t lda = t.lda, words = t.words;
  for (int64_t i = 0; i < words; ++i) {
    Vec row[V];
    FUSED_RNN_UNROLL for (int v = 0; v < V; ++v) row[v] = load(b + (i * V + v) * kLanes);
    FUSED_RNN_UNROLL for (int r = 0; r < R; ++r) {
      const float factor = k_major ? a[i * lda + r] : a[r * lda + i];
      FUSED_RNN_UNROLL for (int v = 0; v < V; ++v) {
        Pairs::multiply_add(sums[r][v], factor, row[v]);
      }
    }
  }
  if (t.columns == V * kLanes) {
    FUSED_RNN_UNROLL for (int r = 0; r < R; ++r) {
      FUSED_RNN_UNROLL for (int v = 0; v < V; ++v) {
        if (t.start != nullptr) sums[r][v] += load(t.start + r * t.start_ld + v * kLanes);
        store(t.c + r * t.ldc + v * kLanes, sums[r][v]);
      }
    }
    return;
  }
  // The last panel's columns.
  FUSED_RNN_UNROLL for (int r = 0; r < R; ++r) {
    FUSED_RNN_UNROLL for (int v = 0; v < V; ++v) {
      const int64_t count = t.columns - v * kLanes;
      if (count <= 0) continue;
      const float* from = t.start != nullptr ? t.start + r * t.start_ld + v * kLanes : nullptr;
      float* to = t.c + r * t.ldc + v * kLanes;
      if (count >= kLanes) {
        store(to, from != nullptr ? sums[r][v] + load(from) : sums[r][v]);
      } else {
        store_part(to, from != nullptr ? sums[r][v] + load_part(from, count) : sums[r][v], count);
      }
    }
  }
}

using Tile = void (*)(const TileArgs&);

template <int R, int V, bool k_major>
constexpr Tile tile_if_it_fits() {
  if constexpr (R <= tile_rows(V)) {
    return &tile<R, V, k_major>;
  } else {
    return nullptr;
  }
}

template <int V, bool k_major>
constexpr Tile kTiles[8] = {tile_if_it_fits<1, V, k_major>(), tile_if_it_fits<2, V, k_major>(),
                            tile_if_it_fits<3, V, k_major>(), tile_if_it_fits<4, V, k_major>(),
                            tile_if_it_fits<5, V, k_major>(), tile_if_it_fits<6, V, k_major>(),
                            tile_if_it_fits<7, V, k_major>(), tile_if_it_fits<8, V, k_major>()};

template <bool k_major>
const Tile* tiles(int64_t vectors) {
  switch (vectors) {
    case 1:
      return kTiles<1, k_major>;
    case 2:
      return kTiles<2, k_major>;
    case 3:
      return kTiles<3, k_major>;
    default:
      return kTiles<kMaxVectors, k_major>;
  }
}

void multiply(const Bf16Panel& panel, int64_t m, const Bf16Rows& a, float* c, int64_t ldc,
              const float* start, int64_t start_ld) {
  const int64_t vectors = (panel.columns + kLanes - 1) / kLanes;
  const int64_t most = tile_rows(static_cast<int>(vectors));
  const Tile* table = a.k_major ? tiles<true>(vectors) : tiles<false>(vectors);
  // In values of k, alike for every instruction set: the sums of a block begin at zero.
  const int64_t pairs = panel.words / Pairs::kWords;
  const int64_t block = cut_evenly(pairs, kBlockK / 2) * Pairs::kWords;
  for (int64_t w = 0; w < panel.words; w += block) {
    const float* from = w == 0 ? start : c;
    const int64_t from_ld = w == 0 ? start_ld : ldc;
    TileArgs t{.words = std::min(block, panel.words - w),
               .a = a.data + (a.k_major ? w * a.ld : w),
               .lda = a.ld,
               .b = panel.data + w * vectors * kLanes,
               .c = c,
               .ldc = ldc,
               .start = from,
               .start_ld = from_ld,
               .columns = panel.columns};
    for (int64_t row = 0; row < m;) {
      const int64_t left = m - row;
      const int64_t rows = left >= 2 * most || left == most ? most
                           : left > most                    ? (left + 1) / 2
                                                            : left;
      table[rows - 1](t);
      row += rows;
      t.a += a.k_major ? rows : rows * a.ld;
      t.c += rows * ldc;
      if (from != nullptr) t.start += rows * from_ld;
    }
  }
}

// ---- Few rows, of kept weights ------------------------------------------------------------------

// The rounded values of the pairs from word i on; `rest` values are there.
void take_pairs(const float* from, int64_t rest, Bits& first, Bits& second) {
  float values[2 * kLanes] = {};
  copy_floats(values, from, std::clamp<int64_t>(rest, 0, 2 * kLanes));
  Vec even, odd;
  for (int j = 0; j < kLanes; ++j) {
    even[j] = values[2 * j];
    odd[j] = values[2 * j + 1];
  }
  first = rounded(even);
  second = rounded(odd);
}

void keep_rows(int64_t n, int64_t k, const float* w, uint32_t* to) {
  for (int64_t r = 0; r < n; ++r) {
    for (int64_t i = 0; i < kept_words(k); i += kLanes) {
      Bits first, second;
      take_pairs(w + r * k + 2 * i, k - 2 * i, first, second);
      const Bits words = second | (first >> 16);
      std::memcpy(to + r * kept_words(k) + i, &words, sizeof words);
    }
  }
}

Bits load_words(const uint32_t* p) {
  Bits words;
  std::memcpy(&words, p, sizeof words);
  return words;
}

// R rows of A, as pairs[r * ld ..]: first all first values, then all second ones;
// times W rows of weights.
template <int R, int W>
void dot_block(int64_t words, const float* pairs, int64_t ld, const uint32_t* w, int64_t ldw,
               float (&out)[R][W]) {
  Vec sums[R][W] = {};
  for (int64_t i = 0; i < words; i += kLanes) {
    Vec first[R], second[R];
    for (int r = 0; r < R; ++r) {
      first[r] = load(pairs + r * ld + i);
      second[r] = load(pairs + r * ld + words + i);
    }
    for (int j = 0; j < W; ++j) {
      const Bits word = load_words(w + j * ldw + i);
      const Vec high = reinterpret_cast<Vec>(word & 0xffff0000u);
      const Vec low = reinterpret_cast<Vec>(word << 16);
      for (int r = 0; r < R; ++r) sums[r][j] += second[r] * high;
      for (int r = 0; r < R; ++r) sums[r][j] += first[r] * low;
    }
  }
  for (int r = 0; r < R; ++r) {
    for (int j = 0; j < W; ++j) out[r][j] = sum_lanes(sums[r][j]);
  }
}

template <int R>
void dot_rows(int64_t n, int64_t k, const float* pairs, int64_t ld, const uint32_t* w, float* c,
              int64_t ldc, const float* start, int64_t start_ld) {
  const int64_t words = kept_words(k);
  const auto put = [&](int r, int64_t j, float sum) {
    c[r * ldc + j] = start != nullptr ? start[r * start_ld + j] + sum : sum;
  };
  int64_t j = 0;
  for (; j + 4 <= n; j += 4) {
    float out[R][4];
    dot_block<R, 4>(words, pairs, ld, w + j * words, words, out);
    for (int r = 0; r < R; ++r) {
      for (int i = 0; i < 4; ++i) put(r, j + i, out[r][i]);
    }
  }
  for (; j < n; ++j) {
    float out[R][1];
    dot_block<R, 1>(words, pairs, ld, w + j * words, words, out);
    for (int r = 0; r < R; ++r) put(r, j, out[r][0]);
  }
}

// Plain float32 instructions everywhere: what takes the time is to read the weights.
void multiply_rows_kept(int64_t m, int64_t n, int64_t k, const float* a, int64_t lda,
                        const uint32_t* w, float* c, int64_t ldc, const float* start,
                        int64_t start_ld) {
  const int64_t words = kept_words(k), ld = 2 * words;
  Scratch pairs(std::min<int64_t>(m, 2) * ld);
  for (int64_t row = 0; row < m;) {
    const int64_t rows = std::min<int64_t>(m - row, 2);
    for (int64_t r = 0; r < rows; ++r) {
      const float* from = a + (row + r) * lda;
      float* to = pairs.data() + r * ld;
      for (int64_t i = 0; i < words; i += kLanes) {
        Bits first, second;
        take_pairs(from + 2 * i, k - 2 * i, first, second);
        store(to + i, reinterpret_cast<Vec>(first));
        store(to + words + i, reinterpret_cast<Vec>(second));
      }
    }
    float* to = c + row * ldc;
    const float* from = start != nullptr ? start + row * start_ld : nullptr;
    if (rows == 2) {
      dot_rows<2>(n, k, pairs.data(), ld, w, to, ldc, from, start_ld);
    } else {
      dot_rows<1>(n, k, pairs.data(), ld, w, to, ldc, from, start_ld);
    }
    row += rows;
  }
}

}  // namespace

extern const Bf16Kernels bf16;
const Bf16Kernels bf16 = {FUSED_RNN_STRING(FUSED_RNN_ISA),
                          Pairs::kWords,
                          &round_rows,
                          &round_columns,
                          &multiply,
                          &multiply_rows_kept,
                          &keep_rows};

FUSED_RNN_KERNELS_END
