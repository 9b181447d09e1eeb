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

// out[i * out_ld + j] = in[j * in_ld + i] for [rows, columns] elements of `in`.
void transpose(const float* in, int64_t rows, int64_t columns, int64_t in_ld, float* out,
               int64_t out_ld);

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
// Up to so many rows that is faster than packing W for one product.
constexpr int64_t kFewRows = 8;

FUSED_RNN_KERNELS_END
