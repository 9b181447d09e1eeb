#include "cpu/tile.h"

#include "cpu/transpose.h"
#include "cpu/vector.h"

FUSED_RNN_KERNELS_BEGIN
namespace {

// ---- Tiles ------------------------------------------------------------------------------------

struct TileArgs {
  int64_t k;
  const float* a;
  int64_t lda;
  const float* b;
  float* c;
  int64_t ldc;
  const float* start;
  int64_t start_ld;
  int64_t columns;
};

// Loops over a tile's sums have to be unrolled for the sums to stay in registers.
#define FUSED_RNN_UNROLL _Pragma("GCC unroll 8")

// The columns that the last panel really has.
[[gnu::noinline]] void store_columns(const TileArgs& t, const float* sums, int rows,
                                     int64_t width) {
  for (int r = 0; r < rows; ++r) {
    for (int64_t j = 0; j < t.columns; ++j) {
      const float start = t.start != nullptr ? t.start[r * t.start_ld + j] : 0.0f;
      t.c[r * t.ldc + j] = start + sums[r * width + j];
    }
  }
}

// R rows, V vectors of columns. Few sums are split over k, so that one multiply-add need not wait
// for the one before.
template <int R, int V, bool k_major>
void tile(const TileArgs& t) {
  constexpr int kSplit = R * V >= 8 ? 1 : R * V >= 4 ? 2 : 4;
  Vec sums[kSplit][R][V];
  FUSED_RNN_UNROLL for (int s = 0; s < kSplit; ++s) {
    FUSED_RNN_UNROLL for (int r = 0; r < R; ++r) {
      FUSED_RNN_UNROLL for (int v = 0; v < V; ++v) sums[s][r][v] = Vec{};
    }
  }
  // Rows of C are far apart, where the processor does not look ahead by itself.
  FUSED_RNN_UNROLL for (int r = 0; r < R; ++r) {
    const float* from = t.start != nullptr ? t.start + r * t.start_ld : t.c + r * t.ldc;
    FUSED_RNN_UNROLL for (int j = 0; j < V * kLanes; j += 16) __builtin_prefetch(from + j, 1);
    __builtin_prefetch(from + V * kLanes - 1, 1);
  }
  const float* __restrict a = t.a;
  const float* __restrict b = t.b;
  const int64_t lda = t.lda, k = t.k;
  const auto add = [&](int s, int64_t i) {
    Vec row[V];
    FUSED_RNN_UNROLL for (int v = 0; v < V; ++v) row[v] = load(b + (i * V + v) * kLanes);
    FUSED_RNN_UNROLL for (int r = 0; r < R; ++r) {
      const float factor = k_major ? a[i * lda + r] : a[r * lda + i];
      FUSED_RNN_UNROLL for (int v = 0; v < V; ++v) sums[s][r][v] += factor * row[v];
    }
  };
  int64_t i = 0;
  for (; i + kSplit <= k; i += kSplit) {
    FUSED_RNN_UNROLL for (int s = 0; s < kSplit; ++s) add(s, i + s);
  }
  if constexpr (kSplit > 1) {
    for (; i < k; ++i) add(0, i);
    FUSED_RNN_UNROLL for (int s = 1; s < kSplit; ++s) {
      FUSED_RNN_UNROLL for (int r = 0; r < R; ++r) {
        FUSED_RNN_UNROLL for (int v = 0; v < V; ++v) sums[0][r][v] += sums[s][r][v];
      }
    }
  }
  if (t.columns != V * kLanes) {
    float rows[R * V * kLanes];
    FUSED_RNN_UNROLL for (int r = 0; r < R; ++r) {
      FUSED_RNN_UNROLL for (int v = 0; v < V; ++v) {
        store(rows + (r * V + v) * kLanes, sums[0][r][v]);
      }
    }
    return store_columns(t, rows, R, V * kLanes);
  }
  if (t.start != nullptr) {
    FUSED_RNN_UNROLL for (int r = 0; r < R; ++r) {
      FUSED_RNN_UNROLL for (int v = 0; v < V; ++v) {
        sums[0][r][v] += load(t.start + r * t.start_ld + v * kLanes);
      }
    }
  }
  FUSED_RNN_UNROLL for (int r = 0; r < R; ++r) {
    FUSED_RNN_UNROLL for (int v = 0; v < V; ++v) {
      store(t.c + r * t.ldc + v * kLanes, sums[0][r][v]);
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
struct TilesOfWidth {
  static constexpr Tile table[8] = {
      tile_if_it_fits<1, V, k_major>(), tile_if_it_fits<2, V, k_major>(),
      tile_if_it_fits<3, V, k_major>(), tile_if_it_fits<4, V, k_major>(),
      tile_if_it_fits<5, V, k_major>(), tile_if_it_fits<6, V, k_major>(),
      tile_if_it_fits<7, V, k_major>(), tile_if_it_fits<8, V, k_major>()};
};

template <bool k_major>
const Tile* tiles(int64_t vectors) {
  switch (vectors) {
    case 1:
      return TilesOfWidth<1, k_major>::table;
    case 2:
      return TilesOfWidth<2, k_major>::table;
    case 3:
      return TilesOfWidth<3, k_major>::table;
    default:
      return TilesOfWidth<kMaxVectors, k_major>::table;
  }
}

// ---- Packing ----------------------------------------------------------------------------------

// One panel of `columns` columns, `width` with the padding.
void pack_rows(const float* b, int64_t ldb, int64_t k, int64_t columns, int64_t width, float* out) {
  for (int64_t i = 0; i < k; ++i) {
    const float* row = b + i * ldb;
    float* to = out + i * width;
    int64_t j = 0;
    for (; j + kLanes <= columns; j += kLanes) store(to + j, load(row + j));
    for (; j < columns; ++j) to[j] = row[j];
    for (; j < width; ++j) to[j] = 0;
  }
}

void pack_columns(const float* w, int64_t ldw, int64_t k, int64_t columns, int64_t width,
                  float* out) {
  transpose(w, columns, k, ldw, out, width);
  for (int64_t j = columns; j < width; ++j) {
    for (int64_t i = 0; i < k; ++i) out[i * width + j] = 0;
  }
}

}  // namespace

void pack_panels(const Panels& panels, Trans trans, const float* b, int64_t ldb, float* out,
                 int64_t first, int64_t last) {
  for (int64_t p = first; p < last; ++p) {
    const int64_t columns = panels.columns(p), width = round_up(columns, kLanes);
    const int64_t from = p * panels.width();
    if (trans == Trans::yes) {
      pack_columns(b + from * ldb, ldb, panels.k, columns, width, out + panels.offset(p));
    } else {
      pack_rows(b + from, ldb, panels.k, columns, width, out + panels.offset(p));
    }
  }
}

void pack_panels(const Panels& panels, Trans trans, const float* b, int64_t ldb, float* out,
                 Context& context) {
  const int64_t panel_floats = panels.k * panels.width() + 1;
  context.pool.parallel_for(
      panels.count(), (1 << 14) / panel_floats + 1,
      [&](int64_t first, int64_t last) { pack_panels(panels, trans, b, ldb, out, first, last); });
}

void pack_panel_rows(const Panels& panels, int64_t k0, int64_t k, const float* b, int64_t ldb,
                     float* out, Context& context) {
  context.pool.parallel_for(
      panels.count(), (1 << 14) / (k * panels.width() + 1) + 1, [&](int64_t first, int64_t last) {
        for (int64_t p = first; p < last; ++p) {
          const int64_t columns = panels.columns(p), width = round_up(columns, kLanes);
          pack_rows(b + p * panels.width(), ldb, k, columns, width,
                    out + panels.offset(p) + k0 * width);
        }
      });
}

void multiply_panel(const Panels& panels, int64_t panel, int64_t m, const TileA& a, float* c,
                    int64_t ldc, const float* start, int64_t start_ld) {
  const int64_t columns = panels.columns(panel);
  const int64_t vectors = (columns + kLanes - 1) / kLanes;
  const int64_t most = tile_rows(static_cast<int>(vectors));
  const Tile* table = a.k_major ? tiles<true>(vectors) : tiles<false>(vectors);
  const float* b = panels.data + panels.offset(panel);
  const int64_t block = cut_evenly(panels.k, kBlockK);
  for (int64_t k0 = 0; k0 < panels.k; k0 += block) {
    const bool first = k0 == 0;
    const float* from = first ? start : c;
    const int64_t from_ld = first ? start_ld : ldc;
    TileArgs t{.k = std::min(block, panels.k - k0),
               .a = a.data + (a.k_major ? k0 * a.lda : k0),
               .lda = a.lda,
               .b = b + k0 * vectors * kLanes,
               .c = c,
               .ldc = ldc,
               .start = from,
               .start_ld = from_ld,
               .columns = columns};
    for (int64_t row = 0; row < m;) {
      // The last rows are shared out evenly: a tile of one row would do little work a load.
      const int64_t left = m - row;
      const int64_t rows = left >= 2 * most || left == most ? most
                           : left > most                    ? (left + 1) / 2
                                                            : left;
      table[rows - 1](t);
      row += rows;
      t.a += a.k_major ? rows : rows * a.lda;
      t.c += rows * ldc;
      if (from != nullptr) t.start += rows * from_ld;
    }
  }
}

// ---- Few rows ---------------------------------------------------------------------------------

namespace {

// R rows of A times four (or one) rows of W.
template <int R, int W>
void dot_block(int64_t k, const float* a, int64_t lda, const float* w, int64_t ldw,
               float (&out)[R][W]) {
  Vec sums[R][W] = {};
  each_vector(k, [&](int64_t i, auto read, auto) {
    Vec row[R];
    for (int r = 0; r < R; ++r) row[r] = read(a + r * lda + i);
    for (int j = 0; j < W; ++j) {
      const Vec factor = read(w + j * ldw + i);
      for (int r = 0; r < R; ++r) sums[r][j] += row[r] * factor;
    }
  });
  for (int r = 0; r < R; ++r) {
    for (int j = 0; j < W; ++j) out[r][j] = sum_lanes(sums[r][j]);
  }
}

template <int R>
void dot_rows(int64_t n, int64_t k, const float* a, int64_t lda, const float* w, int64_t ldw,
              float* c, int64_t ldc, const float* start, int64_t start_ld) {
  const auto put = [&](int r, int64_t j, float sum) {
    c[r * ldc + j] = start != nullptr ? start[r * start_ld + j] + sum : sum;
  };
  int64_t j = 0;
  for (; j + 4 <= n; j += 4) {
    float out[R][4];
    dot_block<R, 4>(k, a, lda, w + j * ldw, ldw, out);
    for (int r = 0; r < R; ++r) {
      for (int i = 0; i < 4; ++i) put(r, j + i, out[r][i]);
    }
  }
  for (; j < n; ++j) {
    float out[R][1];
    dot_block<R, 1>(k, a, lda, w + j * ldw, ldw, out);
    for (int r = 0; r < R; ++r) put(r, j, out[r][0]);
  }
}

}  // namespace

void multiply_rows(int64_t m, int64_t n, int64_t k, const float* a, int64_t lda, const float* w,
                   int64_t ldw, float* c, int64_t ldc, const float* start, int64_t start_ld) {
  int64_t row = 0;
  const auto part = [&](auto rows) {
    dot_rows<decltype(rows)::value>(n, k, a + row * lda, lda, w, ldw, c + row * ldc, ldc,
                                    start != nullptr ? start + row * start_ld : nullptr, start_ld);
    row += rows;
  };
  while (row + 2 <= m) part(std::integral_constant<int, 2>{});
  if (row < m) part(std::integral_constant<int, 1>{});
}

FUSED_RNN_KERNELS_END
