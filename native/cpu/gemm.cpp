#include "cpu/gemm.h"

#include <cblas.h>

#include <algorithm>
#include <climits>
#include <stdexcept>

namespace fused_rnn {
namespace {

CBLAS_TRANSPOSE flag(Trans trans) { return trans == Trans::yes ? CblasTrans : CblasNoTrans; }

int to_blas(int64_t size) {
  if (size > INT_MAX) throw std::runtime_error("a matrix dimension above 2^31 - 1");
  return static_cast<int>(size);
}

// The part of g with `count` rows (or columns) of C from `begin` on.
Gemm rows_of(Gemm g, int64_t begin, int64_t count) {
  g.a += g.trans_a == Trans::yes ? begin : begin * g.lda;
  g.c += begin * g.ldc;
  g.m = count;
  return g;
}
Gemm columns_of(Gemm g, int64_t begin, int64_t count) {
  g.b += g.trans_b == Trans::yes ? begin * g.ldb : begin;
  g.c += begin;
  g.n = count;
  return g;
}

}  // namespace

void gemm(const Gemm& g) {
  if (g.m == 0 || g.n == 0) return;
  if (g.k == 0) {
    for (int64_t i = 0; i < g.m; ++i) {
      for (int64_t j = 0; j < g.n; ++j) {
        float& c = g.c[i * g.ldc + j];
        c = g.beta == 0 ? 0 : c * g.beta;
      }
    }
    return;
  }
  [[maybe_unused]] static const bool one_thread = (openblas_set_num_threads(1), true);
  cblas_sgemm(CblasRowMajor, flag(g.trans_a), flag(g.trans_b), to_blas(g.m), to_blas(g.n),
              to_blas(g.k), g.alpha, g.a, to_blas(std::max<int64_t>(g.lda, 1)), g.b,
              to_blas(std::max<int64_t>(g.ldb, 1)), g.beta, g.c,
              to_blas(std::max<int64_t>(g.ldc, 1)));
}

void gemm(const Gemm& g, Context& context) {
  // Below this a thread costs more than it brings.
  constexpr double kWorthAThread = 1 << 17;
  context.check_stop();
  const double products = static_cast<double>(g.m) * g.n * g.k;
  if (context.pool.threads() == 1 || products < 2 * kWorthAThread) return gemm(g);
  constexpr int64_t kTile = 16;  // splits fall between the library's register tiles
  const bool by_rows = g.m >= g.n;
  const int64_t length = by_rows ? g.m : g.n;
  context.pool.parallel_for((length + kTile - 1) / kTile, 1, [&](int64_t begin, int64_t end) {
    const int64_t from = begin * kTile;
    const int64_t count = std::min(end * kTile, length) - from;
    gemm(by_rows ? rows_of(g, from, count) : columns_of(g, from, count));
  });
}

}  // namespace fused_rnn
