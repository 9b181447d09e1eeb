// The products of a time loop, in float32 or with factors rounded to bfloat16: one way to write
// both.
#pragma once

#include "cpu/bf16/kernels.h"
#include "cpu/tile.h"

FUSED_RNN_KERNELS_BEGIN

// C[m, n] = start + A[m, k] * W[n, k]^T of kept weights, over the pool; start: a row.
void multiply_kept(int64_t m, int64_t n, int64_t k, const float* a, const uint32_t* w, float* c,
                   int64_t ldc, const float* start, Context& context);

class Products {
 public:
  explicit Products(bool bf16) : bf16_(bf16 ? &bf16_kernels() : nullptr) {}

  bool bf16() const { return bf16_ != nullptr; }
  // Of k values: rows of a packed panel, and floats of a row of A.
  int64_t words(int64_t k) const { return bf16() ? (k + 1) / 2 * bf16_->words : k; }

  // Floats from one rounded row of A to the next: rows a multiple of 1 KiB apart would share few
  // places of the nearest cache.
  int64_t row_words(int64_t k) const {
    const int64_t padded = round_up(words(k), 16);
    return padded % 256 == 0 ? padded + 16 : padded;
  }

  // Of B[k, n], not packed yet.
  Panels panels(int64_t k, int64_t n, int vectors) const { return {words(k), n, vectors, nullptr}; }
  int64_t floats(int64_t k, int64_t n) const { return panels(k, n, kMaxVectors).floats(); }

  // As pack_panels, of B[k, n].
  void pack(const Panels& panels, Trans trans, int64_t k, const float* b, int64_t ldb, float* out,
            int64_t first, int64_t last) const;
  void pack(const Panels& panels, Trans trans, int64_t k, const float* b, int64_t ldb, float* out,
            Context& context) const;

  // A[m, k], which is row-major, for `multiply`; `scratch` [m, row_words(k)] is used where it
  // is rounded.
  TileA rows(int64_t m, int64_t k, const float* a, int64_t lda, float* scratch) const {
    if (!bf16()) return {a, lda};
    bf16_->round_rows(m, k, a, lda, scratch, row_words(k));
    return {scratch, row_words(k)};
  }
  // A[m, k], given as its transpose [k, m]; `scratch` [words(k), m].
  TileA columns(int64_t m, int64_t k, const float* a, int64_t lda, float* scratch) const {
    if (!bf16()) return {a, lda, true};
    bf16_->round_columns(k, m, m, a, lda, scratch);
    return {scratch, m, true};
  }

  void multiply(const Panels& panels, int64_t panel, int64_t m, const TileA& a, float* c,
                int64_t ldc, const float* start, int64_t start_ld) const {
    if (!bf16()) return multiply_panel(panels, panel, m, a, c, ldc, start, start_ld);
    bf16_->multiply({panels.k, panels.columns(panel), panels.data + panels.offset(panel)}, m,
                    {a.data, a.lda, a.k_major}, c, ldc, start, start_ld);
  }

 private:
  const Bf16Kernels* bf16_;
};

FUSED_RNN_KERNELS_END
