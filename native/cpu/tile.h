// The micro-kernel: products of a few rows with a panel of packed columns, whose sums stay in
// registers. Every product of the backend is made of these tiles (gemm.cpp, sequence_*.cpp).
//
//   C[M,N] = start + A[M,K] * B[K,N]
//
// B is cut into panels of `vectors` registers' width and packed panel by panel, row by row, the
// last one padded with zeros to whole registers.
#pragma once

#include <algorithm>
#include <cstdint>

#include "cpu/gemm.h"
#include "cpu/vector.h"

FUSED_RNN_KERNELS_BEGIN

// Accumulators, the panel's row and a broadcast share the registers.
constexpr int kAccumulators = kRegisters == 32 ? 24 : 12;
constexpr int kMaxVectors = kRegisters == 32 ? 4 : 3;
constexpr int kMaxRows = kRegisters == 32 ? 8 : 6;
constexpr int tile_rows(int vectors) {
  return kAccumulators / vectors < kMaxRows ? kAccumulators / vectors : kMaxRows;
}

// The panel width at which `columns` columns cost least, for products of `rows` rows.
inline int best_vectors(int64_t columns, int64_t rows) {
  // A tile of few sums waits for itself.
  const auto cost = [&](int64_t vectors) {
    const int64_t sums = vectors * std::min<int64_t>(rows, tile_rows(static_cast<int>(vectors)));
    return static_cast<double>(vectors) * (sums >= 9 ? 1 : 1 + 0.1 * static_cast<double>(9 - sums));
  };
  int best = 1;
  double least = 1e300;
  for (int vectors = kMaxVectors; vectors >= 1; --vectors) {
    const int64_t width = vectors * kLanes;
    const int64_t rest = (columns % width + kLanes - 1) / kLanes;
    const double total =
        static_cast<double>(columns / width) * cost(vectors) + (rest > 0 ? cost(rest) : 0);
    if (total < least * 0.99) {
      least = total;
      best = vectors;
    }
  }
  return best;
}

struct Panels {
  int64_t k = 0;
  int64_t n = 0;
  int vectors = kMaxVectors;
  const float* data = nullptr;

  int64_t width() const { return vectors * kLanes; }
  int64_t count() const { return (n + width() - 1) / width(); }
  int64_t floats() const { return k * round_up(n, kLanes); }
  int64_t columns(int64_t panel) const { return std::min(width(), n - panel * width()); }
  int64_t offset(int64_t panel) const { return panel * width() * k; }
};

// Packs panels [first, last) of B, or of its transpose ([N,K], ldb elements per row), into `out`,
// the place of panel 0.
void pack_panels(const Panels& panels, Trans trans, const float* b, int64_t ldb, float* out,
                 int64_t first, int64_t last);

// All of them, over the pool.
void pack_panels(const Panels& panels, Trans trans, const float* b, int64_t ldb, float* out,
                 Context& context);
// Rows [k0, k0 + k) of all of them, from B's rows there.
void pack_panel_rows(const Panels& panels, int64_t k0, int64_t k, const float* b, int64_t ldb,
                     float* out, Context& context);

// How A lies in memory: row-major with lda elements per row, or, k_major, its transpose with lda
// elements per k.
struct TileA {
  const float* data;
  int64_t lda;
  bool k_major = false;
};

// Longer sums are added up in blocks of K, so that a block of the panel serves all rows from the
// first caches.
constexpr int64_t kBlockK = 512;
inline int64_t cut_evenly(int64_t n, int64_t most) {
  const int64_t parts = (n + most - 1) / most;
  return parts == 0 ? 1 : (n + parts - 1) / parts;
}

// C = start + A * panel. `start` has start_ld elements per row (0: one row for all); null: zeros.
// It may be C itself.
void multiply_panel(const Panels& panels, int64_t panel, int64_t m, const TileA& a, float* c,
                    int64_t ldc, const float* start, int64_t start_ld);

// C[m,n] = start + A[m,K] * W[n,K]^T without packing, for few rows: dot products along k.
void multiply_rows(int64_t m, int64_t n, int64_t k, const float* a, int64_t lda, const float* w,
                   int64_t ldw, float* c, int64_t ldc, const float* start, int64_t start_ld);
// Up to this many rows that is faster than packing W for one product.
constexpr int64_t kFewRows = 8;

FUSED_RNN_KERNELS_END
