// Softmax and its logarithm over the middle dimension of [outer, n, inner].
#include "cells/math.h"
#include "cpu/isa.h"
#include "cpu/reduce.h"

FUSED_RNN_KERNELS_BEGIN

namespace {

constexpr int64_t kGrain = 1 << 13;
constexpr int64_t kColumns = 64;  // done together where the dimension is not the last

// y[i] over a row of neighbours.
void softmax_row(const float* x, float* y, int64_t n, bool log) {
  const float max = max_of(x, n);
  if (log) {
    const double sum = sum_over(n, [=](auto at) { return exp_(at(x) - max); });
    const auto log_sum = static_cast<float>(::log(sum));
    each_lanes(n, [=](auto at) { at(y, (at(x) - max) - log_sum); });
    return;
  }
  const double sum = sum_over(n, [=](auto at) {
    const Vec value = exp_(at(x) - max);
    at(y, value);
    return value;
  });
  const auto scale = static_cast<float>(1 / sum);
  each_lanes(n, [=](auto at) { at(y, at(y) * scale); });
}

// The same for `columns` columns at once.
void softmax_columns(const float* x, float* y, int64_t n, int64_t stride, int64_t columns,
                     bool log) {
  float max[kColumns], sum[kColumns] = {};
  for (int64_t c = 0; c < columns; ++c) max[c] = x[c];
  for (int64_t i = 1; i < n; ++i) {
    const float* row = x + i * stride;
    for (int64_t c = 0; c < columns; ++c) max[c] = row[c] > max[c] ? row[c] : max[c];
  }
  for (int64_t i = 0; i < n; ++i) {
    const float* row = x + i * stride;
    float* out = y + i * stride;
    for (int64_t c = 0; c < columns; ++c) out[c] = exp_(row[c] - max[c]);
    for (int64_t c = 0; c < columns; ++c) sum[c] += out[c];
  }
  for (int64_t c = 0; c < columns; ++c) sum[c] = log ? log_(sum[c]) : 1 / sum[c];
  for (int64_t i = 0; i < n; ++i) {
    const float* row = x + i * stride;
    float* out = y + i * stride;
    if (log) {
      for (int64_t c = 0; c < columns; ++c) out[c] = (row[c] - max[c]) - sum[c];
    } else {
      for (int64_t c = 0; c < columns; ++c) out[c] *= sum[c];
    }
  }
}

void backward_row(const float* dy, const float* y, float* dx, int64_t n, bool log) {
  if (log) {
    const auto sum = static_cast<float>(sum_of(dy, n));
    each_lanes(n, [=](auto at) { at(dx, at(dy) - exp_(at(y)) * sum); });
    return;
  }
  const auto dot = static_cast<float>(sum_over(n, [=](auto at) { return at(dy) * at(y); }));
  each_lanes(n, [=](auto at) { at(dx, at(y) * (at(dy) - dot)); });
}

void backward_columns(const float* dy, const float* y, float* dx, int64_t n, int64_t stride,
                      int64_t columns, bool log) {
  float sum[kColumns] = {};
  for (int64_t i = 0; i < n; ++i) {
    const float *g = dy + i * stride, *v = y + i * stride;
    if (log) {
      for (int64_t c = 0; c < columns; ++c) sum[c] += g[c];
    } else {
      for (int64_t c = 0; c < columns; ++c) sum[c] += g[c] * v[c];
    }
  }
  for (int64_t i = 0; i < n; ++i) {
    const float *g = dy + i * stride, *v = y + i * stride;
    float* out = dx + i * stride;
    if (log) {
      for (int64_t c = 0; c < columns; ++c) out[c] = g[c] - exp_(v[c]) * sum[c];
    } else {
      for (int64_t c = 0; c < columns; ++c) out[c] = v[c] * (g[c] - sum[c]);
    }
  }
}

// Calls row(offset) for every row when inner is 1, else block(offset, columns) for every block of
// neighbouring columns.
template <class Row, class Block>
void each_line(Context& context, int64_t outer, int64_t n, int64_t inner, Row row, Block block) {
  if (n == 0) return;
  if (inner == 1) {
    context.pool.parallel_for(outer, kGrain / n + 1, [&](int64_t begin, int64_t end) {
      for (int64_t o = begin; o < end; ++o) row(o * n);
    });
    return;
  }
  const int64_t blocks = (inner + kColumns - 1) / kColumns;
  const int64_t size = n * (inner < kColumns ? inner : kColumns) + 1;
  context.pool.parallel_for(outer * blocks, kGrain / size + 1, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      const int64_t from = task % blocks * kColumns;
      const int64_t columns = inner - from < kColumns ? inner - from : kColumns;
      block(task / blocks * n * inner + from, columns);
    }
  });
}

}  // namespace

void softmax(const SoftmaxArgs& args, Context& context) {
  each_line(
      context, args.outer, args.n, args.inner,
      [&](int64_t at) { softmax_row(args.x + at, args.y + at, args.n, args.log); },
      [&](int64_t at, int64_t columns) {
        softmax_columns(args.x + at, args.y + at, args.n, args.inner, columns, args.log);
      });
}

void softmax_backward(const SoftmaxBackwardArgs& args, Context& context) {
  each_line(
      context, args.outer, args.n, args.inner,
      [&](int64_t at) { backward_row(args.dy + at, args.y + at, args.dx + at, args.n, args.log); },
      [&](int64_t at, int64_t columns) {
        backward_columns(args.dy + at, args.y + at, args.dx + at, args.n, args.inner, columns,
                         args.log);
      });
}

FUSED_RNN_KERNELS_END
