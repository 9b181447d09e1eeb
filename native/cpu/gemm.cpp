#include "cpu/gemm.h"

#include "cpu/reduce.h"
#include "cpu/tile.h"

FUSED_RNN_KERNELS_BEGIN
namespace {

// Bytes of A's rows and of B's columns that are worked on together, so that the first stay in the
// second-level cache and the others near it.
constexpr int64_t kBlockA = int64_t{128} << 10;
constexpr int64_t kBlockB = int64_t{1} << 20;

// `rows` of A's rows, k-major.
template <int64_t rows>
void pack_group(const float* from, int64_t lda, int64_t k, float* to) {
  for (int64_t i = 0; i < k; ++i) {
    for (int64_t j = 0; j < rows; ++j) to[i * rows + j] = from[i * lda + j];
  }
}

// Rows [row, row + m) of A where its transpose is given, of k0 .. k0 + k, k-major in groups.
void pack_a(const Gemm& g, int64_t row, int64_t m, int64_t k0, int64_t k, int64_t group,
            float* out) {
  constexpr decltype(&pack_group<1>) pack[] = {&pack_group<1>, &pack_group<2>, &pack_group<3>,
                                               &pack_group<4>, &pack_group<5>, &pack_group<6>,
                                               &pack_group<7>, &pack_group<8>};
  for (int64_t r = 0; r < m; r += group) {
    const int64_t rows = std::min(group, m - r);
    pack[rows - 1](g.a + k0 * g.lda + row + r, g.lda, k, out + r * k);
  }
}

// c = start + a[k] B[k, n]. B is read once, several of its rows at a time, and not packed.
void row_times_matrix(int64_t n, int64_t k, const float* a, const float* b, int64_t ldb, float* c,
                      const float* start) {
  constexpr int64_t kColumns = 2048, kRows = 8;  // of c, which stay in the nearest cache; of B
  for (int64_t j0 = 0; j0 < n; j0 += kColumns) {
    const int64_t columns = std::min(kColumns, n - j0);
    float* to = c + j0;
    for (int64_t j = 0; j < columns; ++j) to[j] = start != nullptr ? start[j0 + j] : 0.0f;
    int64_t i = 0;
    for (; i + kRows <= k; i += kRows) {
      const float* rows = b + i * ldb + j0;
      each_lanes(columns, [=](auto at) {
        Vec even = at(to), odd{};
        for (int64_t r = 0; r < kRows; r += 2) {
          even += a[i + r] * at(rows + r * ldb);
          odd += a[i + r + 1] * at(rows + (r + 1) * ldb);
        }
        at(to, even + odd);
      });
    }
    for (; i < k; ++i) {
      const float* row = b + i * ldb + j0;
      for (int64_t j = 0; j < columns; ++j) to[j] += a[i] * row[j];
    }
  }
}

// A column of C as a row: C^T = B^T A^T, where all that makes it lies side by side.
Gemm column_as_row(const Gemm& g) {
  const bool column = g.n == 1 && g.m > 1 && g.ldc == 1 &&
                      (g.trans_b == Trans::yes || g.ldb == 1) &&
                      (g.start == nullptr || g.start_ld == 1);
  if (!column) return g;
  Gemm row = g;
  row.trans_a = Trans::no;
  row.trans_b = g.trans_a == Trans::yes ? Trans::no : Trans::yes;
  row.m = 1;
  row.n = g.m;
  row.a = g.b;
  row.lda = g.k;
  row.b = g.a;
  row.ldb = g.lda;
  row.ldc = g.m;
  return row;
}

// Whether the factors are rounded: of few rows or columns packing costs more than the product.
bool rounds(const Gemm& g) { return g.bf16 && g.m > kFewRows && g.n > kFewRows && g.k > kFewRows; }

// The part of C with rows [m0, m1) and columns [n0, n1).
void gemm_part(const Gemm& g, int64_t m0, int64_t m1, int64_t n0, int64_t n1) {
  if (rounds(g)) return gemm_bf16(g, m0, m1, n0, n1);
  const int64_t m = m1 - m0, n = n1 - n0;
  if (m <= 0 || n <= 0) return;
  if (g.trans_a == Trans::no && g.trans_b == Trans::yes && m <= kFewRows) {
    multiply_rows(m, n, g.k, g.a + m0 * g.lda, g.lda, g.b + n0 * g.ldb, g.ldb,
                  g.c + m0 * g.ldc + n0, g.ldc, g.start ? g.start + m0 * g.start_ld + n0 : nullptr,
                  g.start_ld);
    return;
  }
  if (g.trans_a == Trans::no && g.trans_b == Trans::no && g.m == 1) {
    return row_times_matrix(n, g.k, g.a, g.b + n0, g.ldb, g.c + n0,
                            g.start ? g.start + n0 : nullptr);
  }
  const int vectors = best_vectors(n, m);
  const int64_t width = vectors * kLanes, group = tile_rows(vectors);
  const int64_t block_k = cut_evenly(g.k, kBlockK);
  const int64_t block_n =
      std::min(round_up(n, width), std::max(kBlockB / 4 / block_k / width, int64_t{1}) * width);
  const int64_t block_m =
      std::min(round_up(m, group), std::max(kBlockA / 4 / block_k / group, int64_t{1}) * group);
  const bool pack_rows = g.trans_a == Trans::yes;
  Scratch packed_b(block_k * block_n);
  Scratch packed_a(pack_rows ? block_k * block_m : 1);
  for (int64_t k0 = 0; k0 < g.k; k0 += block_k) {
    const int64_t k = std::min(block_k, g.k - k0);
    // The first block of K begins with `start`, the others add to what is there.
    const bool first = k0 == 0;
    const float* start = first ? g.start : g.c;
    const int64_t start_ld = first ? g.start_ld : g.ldc;
    for (int64_t j = n0; j < n1; j += block_n) {
      const Panels panels{k, std::min(block_n, n1 - j), vectors, packed_b.data()};
      pack_panels(panels, g.trans_b,
                  g.trans_b == Trans::yes ? g.b + j * g.ldb + k0 : g.b + k0 * g.ldb + j, g.ldb,
                  packed_b.data(), 0, panels.count());
      for (int64_t i = m0; i < m1; i += block_m) {
        const int64_t rows = std::min(block_m, m1 - i);
        if (pack_rows) pack_a(g, i, rows, k0, k, group, packed_a.data());
        for (int64_t p = 0; p < panels.count(); ++p) {
          const int64_t column = j + p * width;
          float* c = g.c + i * g.ldc + column;
          const float* from = start != nullptr ? start + i * start_ld + column : nullptr;
          if (!pack_rows) {
            multiply_panel(panels, p, rows, {g.a + i * g.lda + k0, g.lda}, c, g.ldc, from,
                           start_ld);
            continue;
          }
          for (int64_t r = 0; r < rows; r += group) {
            const int64_t count = std::min(group, rows - r);
            multiply_panel(panels, p, count, {packed_a.data() + r * k, count, true}, c + r * g.ldc,
                           g.ldc, from ? from + r * start_ld : nullptr, start_ld);
          }
        }
      }
    }
  }
}

}  // namespace

void gemm(const Gemm& given) {
  const Gemm g = column_as_row(given);
  if (g.k > 0) return gemm_part(g, 0, g.m, 0, g.n);
  for (int64_t i = 0; i < g.m; ++i) {
    for (int64_t j = 0; j < g.n; ++j) {
      g.c[i * g.ldc + j] = g.start != nullptr ? g.start[i * g.start_ld + j] : 0.0f;
    }
  }
}

void gemm(const Gemm& given, Context& context) {
  const Gemm g = column_as_row(given);
  // Below this a thread costs more than it brings.
  constexpr double kWorthAThread = 1 << 19;
  context.check_stop();
  const double products =
      static_cast<double>(g.m) * static_cast<double>(g.n) * static_cast<double>(g.k);
  const int64_t threads =
      std::min<int64_t>(context.pool.threads(), static_cast<int64_t>(products / kWorthAThread));
  if (threads < 2) return gemm(g);
  // By columns every thread reads all of A, by rows all of B, and packs it if it has to: the way
  // in which the slowest thread has the least to do.
  const auto cost = [&](int64_t length, int64_t unit, int64_t other, double pack) {
    const int64_t units = (length + unit - 1) / unit;
    const int64_t most = (units + threads - 1) / threads * unit;
    return static_cast<double>(std::min(most, length)) * static_cast<double>(other) *
               static_cast<double>(g.k) +
           pack * static_cast<double>(other) * static_cast<double>(g.k);
  };
  constexpr double kPackCost = 16;  // products in the time of packing one element
  constexpr int64_t kColumns = kMaxVectors * kLanes, kRows = 2 * kMaxRows;
  const double by_columns = cost(g.n, kColumns, g.m, g.trans_a == Trans::yes ? kPackCost : 1);
  const double by_rows = cost(g.m, kRows, g.n, kPackCost);
  if (by_columns <= by_rows) {
    context.pool.parallel_for((g.n + kColumns - 1) / kColumns, 1, [&](int64_t begin, int64_t end) {
      gemm_part(g, 0, g.m, begin * kColumns, std::min(end * kColumns, g.n));
    });
  } else {
    context.pool.parallel_for((g.m + kRows - 1) / kRows, 1, [&](int64_t begin, int64_t end) {
      gemm_part(g, begin * kRows, std::min(end * kRows, g.m), 0, g.n);
    });
  }
}

FUSED_RNN_KERNELS_END
