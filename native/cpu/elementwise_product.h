// The input's product of a layer without a recurrent matrix, some rows at a time, and its gradients.
// Behind a few hundred rows the loop over time goes on with them (elementwise_rnn.cpp), while they
// are in the second-level cache.
//   I inputs   O columns of the pre-activations
//
// How threads share a product does not change its bits: rows are cut at multiples of every tile's.
#pragma once

#include <utility>

#include "cpu/elementwise_walk.h"
#include "cpu/gemm.h"
#include "cpu/isa.h"
#include "cpu/reduce.h"
#include "cpu/tile.h"

FUSED_RNN_KERNELS_BEGIN

namespace {

// Rows that a thread takes at once: a multiple of tile_rows() of every width.
constexpr int64_t kTileRows = 48;
static_assert([] {
  for (int vectors = 1; vectors <= kMaxVectors; ++vectors) {
    if (kTileRows % tile_rows(vectors) != 0) return false;
  }
  return true;
}());

// f(panel, from, to): panels of a product of so many rows, by threads; rows [from, to) of each. Rows
// behind the last multiple of kTileRows are always on their own, so that tiles are the same ones.
template <class F>
void share_panels(int64_t panels, int64_t rows, int64_t products, Context& context, F f) {
  constexpr int64_t kWorthAThread = 1 << 19;
  const int64_t blocks = (rows + kTileRows - 1) / kTileRows, tasks = panels * blocks;
  context.pool.parallel_for(
      tasks, kWorthAThread * tasks / (products + 1) + 1, [&](int64_t begin, int64_t end) {
        for (int64_t panel = begin / blocks; panel * blocks < end; ++panel) {
          const int64_t first = begin > panel * blocks ? begin - panel * blocks : 0;
          const int64_t last = end - panel * blocks, whole = rows / kTileRows;
          const int64_t stop = last < whole ? last : whole;
          if (first < stop) f(panel, first * kTileRows, stop * kTileRows);
          if (last >= blocks && whole < blocks) f(panel, whole * kTileRows, rows);
        }
      });
}

// A matrix packed for products of many rows.
class PackedMatrix {
 public:
  // op(b) [k, n], ldb elements a row; `rows` of what it is multiplied with at once.
  PackedMatrix(Trans trans, const float* b, int64_t ldb, int64_t k, int64_t n, int64_t rows,
               Context& context)
      : panels_{k, n, best_vectors(n, rows)}, data_(panels_.floats()) {
    panels_.data = data_.data();
    pack_panels(panels_, trans, b, ldb, data_.data(), context);
  }

  // c = start + a * this, of so many rows.
  void multiply(int64_t rows, const float* a, int64_t lda, float* c, int64_t ldc,
                const float* start, int64_t start_ld, Context& context) const {
    share_panels(panels_.count(), rows, rows * panels_.n * panels_.k, context,
                 [&](int64_t panel, int64_t from, int64_t to) {
                   const int64_t column = panel * panels_.width();
                   multiply_panel(panels_, panel, to - from, {a + from * lda, lda},
                                  c + from * ldc + column, ldc,
                                  start != nullptr ? start + from * start_ld + column : nullptr,
                                  start_ld);
                 });
  }

 private:
  Panels panels_;
  Scratch data_;
};

// gradients [rows, O]^T * x [rows, I], added up over some rows after the other.
class WeightProduct {
 public:
  WeightProduct(float* dw, int64_t out, int64_t inputs, int64_t most_rows)
      : dw_(dw), out_(out), inputs_(inputs), x_(most_rows * round_up(inputs, kLanes)) {}

  void add(const float* gradients, int64_t ld, const float* x, int64_t rows, Context& context) {
    Panels panels{rows, inputs_, best_vectors(inputs_, out_), x_.data()};
    pack_panels(panels, Trans::no, x, inputs_, x_.data(), context);
    const float* start = begun_ ? dw_ : nullptr;
    begun_ = true;
    share_panels(panels.count(), out_, rows * out_ * inputs_, context,
                 [&](int64_t panel, int64_t from, int64_t to) {
                   const int64_t at = from * inputs_ + panel * panels.width();
                   multiply_panel(panels, panel, to - from, {gradients + from, ld, true}, dw_ + at,
                                  inputs_, start != nullptr ? start + at : nullptr, inputs_);
                 });
  }

 private:
  float* const dw_;
  const int64_t out_, inputs_;
  const Scratch x_;
  bool begun_ = false;
};

// Sums of columns, some rows after the other, in double as column_sum's.
class ColumnSums {
 public:
  ColumnSums(float* to, int64_t columns)
      : to_(to), columns_(columns), part_(columns), total_(2 * columns) {
    for (int64_t c = 0; c < columns; ++c) total()[c] = 0;
  }

  void add(const float* from, int64_t ld, int64_t rows, Context& context) {
    column_sum(from, 1, rows, columns_, ld, 1, part_.data(), context);
    for (int64_t c = 0; c < columns_; ++c) total()[c] += part_.data()[c];
  }
  void finish() const {
    for (int64_t c = 0; c < columns_; ++c) to_[c] = static_cast<float>(total()[c]);
  }

 private:
  double* total() const { return reinterpret_cast<double*>(total_.data()); }

  float* const to_;
  const int64_t columns_;
  const Scratch part_, total_;
};

}  // namespace

FUSED_RNN_KERNELS_END
