#include "cpu/gemm.h"

#include "cpu/tile.h"

FUSED_RNN_KERNELS_BEGIN
namespace {

// Bytes of A's rows and of B's columns that are worked on together, so that the first stay in the
// second-level cache and the others near it.
constexpr int64_t kBlockA = int64_t{128} << 10;
constexpr int64_t kBlockB = int64_t{1} << 20;

// A's rows [row, row + m) of op(A)[., k0 .. k0 + k), packed k-major in groups of `group` rows.
void pack_a(const Gemm& g, int64_t row, int64_t m, int64_t k0, int64_t k, int64_t group,
            float* out) {
  for (int64_t r = 0; r < m; r += group) {
    const int64_t rows = std::min(group, m - r);
    const float* from = g.a + k0 * g.lda + row + r;
    float* to = out + r * k;
    if (rows == 4) {
      for (int64_t i = 0; i < k; ++i) {
        for (int j = 0; j < 4; ++j) to[i * 4 + j] = from[i * g.lda + j];
      }
    } else {
      for (int64_t i = 0; i < k; ++i) {
        for (int64_t j = 0; j < rows; ++j) to[i * rows + j] = from[i * g.lda + j];
      }
    }
  }
}

// The panels' width: as wide as the tile, unless that leaves a narrow rest of few columns.
int best_vectors(int64_t n) {
  int best = kMaxVectors;
  double least = 1e300;
  for (int v = kMaxVectors; v >= (kMaxVectors + 1) / 2; --v) {
    const int64_t width = v * kLanes, rest = n % width;
    // Columns of the rest cost as much as a tile of half the speed.
    const double cost = static_cast<double>(n - rest) +
                        (rest > 0 ? 1.5 * static_cast<double>(round_up(rest, kLanes)) : 0);
    if (cost < least * 0.97) {
      least = cost;
      best = v;
    }
  }
  return best;
}

// The part of C with rows [m0, m1) and columns [n0, n1).
void gemm_part(const Gemm& g, int64_t m0, int64_t m1, int64_t n0, int64_t n1) {
  const int64_t m = m1 - m0, n = n1 - n0;
  if (m <= 0 || n <= 0) return;
  if (g.trans_a == Trans::no && g.trans_b == Trans::yes && m <= kFewRows) {
    multiply_rows(m, n, g.k, g.a + m0 * g.lda, g.lda, g.b + n0 * g.ldb, g.ldb,
                  g.c + m0 * g.ldc + n0, g.ldc, g.start ? g.start + m0 * g.start_ld + n0 : nullptr,
                  g.start_ld);
    return;
  }
  const int vectors = best_vectors(n);
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

void gemm(const Gemm& g) {
  if (g.k > 0) return gemm_part(g, 0, g.m, 0, g.n);
  for (int64_t i = 0; i < g.m; ++i) {
    for (int64_t j = 0; j < g.n; ++j) {
      g.c[i * g.ldc + j] = g.start != nullptr ? g.start[i * g.start_ld + j] : 0.0f;
    }
  }
}

void gemm(const Gemm& g, Context& context) {
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
