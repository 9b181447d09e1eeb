// Matrix products of factors rounded to bfloat16.
#include "cpu/gemm.h"

#include "cpu/bf16/products.h"
#include "cpu/transpose.h"

FUSED_RNN_KERNELS_BEGIN

void Products::pack(const Panels& panels, Trans trans, int64_t k, const float* b, int64_t ldb,
                    float* out, int64_t first, int64_t last) const {
  if (!bf16()) return pack_panels(panels, trans, b, ldb, out, first, last);
  Scratch rounded(trans == Trans::yes ? panels.width() * panels.k : 1);
  for (int64_t p = first; p < last; ++p) {
    const int64_t columns = panels.columns(p), width = round_up(columns, kLanes);
    const int64_t from = p * panels.width();
    float* to = out + panels.offset(p);
    if (trans == Trans::no) {
      bf16_->round_columns(k, columns, width, b + from, ldb, to);
      continue;
    }
    bf16_->round_rows(columns, k, b + from * ldb, ldb, rounded.data(), panels.k);
    transpose(rounded.data(), columns, panels.k, panels.k, to, width);
    for (int64_t j = columns; j < width; ++j) {
      for (int64_t i = 0; i < panels.k; ++i) to[i * width + j] = 0;
    }
  }
}

void Products::pack(const Panels& panels, Trans trans, int64_t k, const float* b, int64_t ldb,
                    float* out, Context& context) const {
  context.pool.parallel_for(
      panels.count(), (1 << 14) / (k * panels.width() + 1) + 1,
      [&](int64_t first, int64_t last) { pack(panels, trans, k, b, ldb, out, first, last); });
}

void multiply_kept(int64_t m, int64_t n, int64_t k, const float* a, const uint32_t* w, float* c,
                   int64_t ldc, const float* start, Context& context) {
  const int64_t grain = (int64_t{1} << 18) / (m * k + 1) + 1;
  context.pool.parallel_for(n, grain, [&](int64_t begin, int64_t end) {
    bf16_kernels().multiply_rows(m, end - begin, k, a, k, w + begin * kept_words(k), c + begin, ldc,
                                 start != nullptr ? start + begin : nullptr, 0);
  });
}

void gemm_bf16(const Gemm& g, int64_t m0, int64_t m1, int64_t n0, int64_t n1) {
  const int64_t m = m1 - m0, n = n1 - n0;
  if (m <= 0 || n <= 0) return;
  // As in gemm.cpp: A's rows for the second-level cache, B's columns for what is near it.
  constexpr int64_t kBytesA = int64_t{128} << 10, kBytesB = int64_t{1} << 20;
  const Products products(true);
  const int vectors = best_vectors(n, m);
  const int64_t width = vectors * kLanes, group = tile_rows(vectors);
  const int64_t block_k = round_up(cut_evenly(g.k, kBlockK), 2), words = products.words(block_k);
  const auto block = [&](int64_t length, int64_t unit, int64_t bytes) {
    return std::min(round_up(length, unit), std::max(bytes / 4 / words / unit, int64_t{1}) * unit);
  };
  const int64_t block_n = block(n, width, kBytesB), block_m = block(m, group, kBytesA);
  Scratch packed_b(words * block_n), packed_a(products.row_words(block_k) * block_m);
  for (int64_t k0 = 0; k0 < g.k; k0 += block_k) {
    const int64_t k = std::min(block_k, g.k - k0), row_words = products.row_words(k);
    const float* start = k0 == 0 ? g.start : g.c;
    const int64_t start_ld = k0 == 0 ? g.start_ld : g.ldc;
    for (int64_t j = n0; j < n1; j += block_n) {
      Panels panels = products.panels(k, std::min(block_n, n1 - j), vectors);
      products.pack(panels, g.trans_b, k,
                    g.trans_b == Trans::yes ? g.b + j * g.ldb + k0 : g.b + k0 * g.ldb + j, g.ldb,
                    packed_b.data(), 0, panels.count());
      panels.data = packed_b.data();
      for (int64_t i = m0; i < m1; i += block_m) {
        const int64_t rows = std::min(block_m, m1 - i);
        // Given as its transpose, A is packed in groups of a tile's rows.
        const int64_t step = g.trans_a == Trans::yes ? group : rows;
        for (int64_t r = 0; r < rows; r += step) {
          const int64_t count = std::min(step, rows - r);
          float* to = packed_a.data() + r * row_words;
          if (g.trans_a == Trans::yes) {
            products.columns(count, k, g.a + k0 * g.lda + i + r, g.lda, to);
          } else {
            products.rows(count, k, g.a + (i + r) * g.lda + k0, g.lda, to);
          }
        }
        for (int64_t p = 0; p < panels.count(); ++p) {
          for (int64_t r = 0; r < rows; r += step) {
            const int64_t count = std::min(step, rows - r), column = j + p * width;
            const float* from = packed_a.data() + r * row_words;
            const TileA a =
                g.trans_a == Trans::yes ? TileA{from, count, true} : TileA{from, row_words};
            products.multiply(panels, p, count, a, g.c + (i + r) * g.ldc + column, g.ldc,
                              start ? start + (i + r) * start_ld + column : nullptr, start_ld);
          }
        }
      }
    }
  }
}

FUSED_RNN_KERNELS_END
