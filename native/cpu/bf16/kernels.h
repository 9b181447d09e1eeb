// Products of values rounded to bfloat16, with sums in float32: what an instruction set gives.
//
// The values of k and k + 1, k even, make a pair; of an odd number the last is paired with 0. To a
// sum goes first the second product of a pair, then the first, each rounded to nearest even like a
// fused multiply-add, with denormal numbers as zero: what vdpbf16ps does. Sums are never split, so
// every instruction set gives the same bits, whatever the tiles and the threads.
//
// A pair is one word of 32 bits, for that instruction, or two, the second value before the first,
// both as float32: then the product of words is an ordinary float32 product.
#pragma once

#include <cstdint>

namespace fused_rnn {

struct Bf16Panel {
  int64_t words;    // rows of the panel
  int64_t columns;  // of C
  const float* data;
};

struct Bf16Rows {
  const float* data;
  int64_t ld;    // words a row, or, k_major, a word's rows
  bool k_major;  // word by word, each of all rows
};

struct Bf16Kernels {
  const char* name;
  int words;  // of a pair
  // to[rows, words of k] = rows of k values each.
  void (*round_rows)(int64_t rows, int64_t k, const float* from, int64_t ld, float* to,
                     int64_t to_ld);
  // to[words of k, width] = k rows of n values each, zeros behind them.
  void (*round_columns)(int64_t k, int64_t n, int64_t width, const float* from, int64_t ld,
                        float* to);
  // C[m, columns] = start + A * panel; null: zeros. `start` may be C itself.
  void (*multiply)(const Bf16Panel& panel, int64_t m, const Bf16Rows& a, float* c, int64_t ldc,
                   const float* start, int64_t start_ld);
  // C[m, n] = start + A[m, k] * W[n, k]^T, for few rows: sums along k, in another order.
  void (*multiply_rows)(int64_t m, int64_t n, int64_t k, const float* a, int64_t lda,
                        const uint32_t* w, float* c, int64_t ldc, const float* start,
                        int64_t start_ld);
  // W[n, k] for it: kept_words(k) words a row, each with a pair, the first value in its lower half.
  void (*keep_rows)(int64_t n, int64_t k, const float* w, uint32_t* to);
};

// Words of a row of kept weights: whole registers.
constexpr int64_t kept_words(int64_t k) { return (k + 31) / 32 * 16; }

// Beside the kernels of a backend of the same register width (dispatch.cpp).
const Bf16Kernels& bf16_kernels();

}  // namespace fused_rnn
