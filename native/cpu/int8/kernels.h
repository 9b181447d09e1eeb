// Products of int8 weights with rows of float32 that are quantised when they come: what an
// instruction set gives.
//
// Weights: each row has a scale, its largest magnitude / 127, and whole numbers in [-127, 127],
// w = scale * q. Rows of A: each has a scale, (max - min) / 255 where the range has 0 in it, and a
// zero point, a = scale * (q - zero), q in [0, 255]. Scales are float32 of a quotient of doubles;
// q is a * (1 / scale), all of it float32, rounded to nearest, even on a tie. A row that holds an
// infinity or NaN has NaN as its scale.
//
// C = float32(sum of (q_a - zero) * q_w) * (scale_a * scale_w) + start. The sum is a whole number
// below 2^31, so every instruction set gives the same one; nothing after it is contracted
// (CMakeLists.txt), so the bits of C are the same, too, whatever the tiles and the threads.
//
// Weights [groups * n, k] lie in panels of 16 rows, each group beginning a new one. A panel is
// [1 + quads, 16] words of 32 bits: first the sums of its rows' q, then, for each four columns, a
// word of each row with their q as bytes, the first the lowest. Behind the last rows and columns
// are zeros.
#pragma once

#include <cstdint>

#include "ops/ops.h"

namespace fused_rnn {

constexpr int64_t kInt8Rows = 16;  // of a panel
// Of a matrix at most: 2^16 * 255 * 127 is below 2^31.
constexpr int64_t kInt8Columns = int64_t{1} << 16;

constexpr int64_t int8_quads(int64_t k) { return (k + 3) / 4; }
constexpr int64_t int8_panels(int64_t n) { return (n + kInt8Rows - 1) / kInt8Rows; }
constexpr int64_t int8_panel_words(int64_t k) { return (1 + int8_quads(k)) * kInt8Rows; }
constexpr int64_t int8_words(int64_t groups, int64_t n, int64_t k) {
  return groups * int8_panels(n) * int8_panel_words(k);
}

// Rows of A as they are multiplied.
struct Int8Rows {
  const uint8_t* q;  // [rows, ld], int8_quads(k) * 4 of each are read
  int64_t ld;
  const float* scales;   // [rows]
  const int32_t* zeros;  // [rows]
};

// Where they are put.
struct Int8RowsOut {
  uint8_t* q;
  int64_t ld;
  float* scales;
  int32_t* zeros;
};

struct Int8Kernels {
  const char* name;
  // rows of k values each, `ld` apart.
  void (*quantize_rows)(int64_t rows, int64_t k, const float* from, int64_t ld,
                        const Int8RowsOut& to);
  // Panels [first, last) of w [groups * n, k], and their rows' scales [groups * n].
  void (*pack)(int64_t n, int64_t k, const float* w, int32_t* words, float* scales, int64_t first,
               int64_t last);
  // C[m, columns] = start + A * W^T of the rows of W from panel `panel` of a group on, whose first
  // words and scales are given; start: null for zeros, a row with start_ld 0, or C itself.
  void (*multiply)(const Int8Matrix& w, int64_t k, int64_t m, int64_t columns, const Int8Rows& a,
                   float* c, int64_t ldc, const float* start, int64_t start_ld);
};

// Beside the kernels of a backend of the same register width (dispatch.cpp).
const Int8Kernels& int8_kernels();

}  // namespace fused_rnn
