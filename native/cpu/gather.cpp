// Rows by index, and adding rows back: embedding, packing, permuting states.
#include <cstring>

#include "core/failure.h"
#include "cpu/isa.h"

FUSED_RNN_KERNELS_BEGIN

namespace {

void check_index(const GatherRowsArgs& args) {
  const int32_t lowest = args.fill_absent ? -1 : 0;
  int32_t least = 0, most = -1;
  for (int64_t i = 0; i < args.n; ++i) {
    const int32_t index = args.index[i];
    least = index < least ? index : least;
    most = index > most ? index : most;
  }
  if (least >= lowest && most < args.rows) return;
  for (int64_t i = 0; i < args.n; ++i) {
    const int32_t index = args.index[i];
    if (index < lowest || index >= args.rows) fail_index(args.op, "index", i, index, args.rows);
  }
}

template <class T>
void copy_elements(T* to, const T* from, int64_t n) {
  if (n >= 16) {
    std::memcpy(to, from, static_cast<size_t>(n) * sizeof(T));
  } else {
    for (int64_t i = 0; i < n; ++i) to[i] = from[i];
  }
}

// Rows x[index[0..n)] to y.
template <class T>
void gather_some(const T* x, const int32_t* index, int64_t n, int64_t width, T* y, bool absent,
                 T fill) {
  if (width == 1 && !absent) {
    for (int64_t i = 0; i < n; ++i) y[i] = x[index[i]];
    return;
  }
  for (int64_t i = 0; i < n; ++i) {
    if (index[i] < 0) {
      for (int64_t c = 0; c < width; ++c) y[i * width + c] = fill;
    } else {
      copy_elements(y + i * width, x + index[i] * width, width);
    }
  }
}

template <class T>
void gather_as(const GatherRowsArgs& args, Context& context) {
  const auto* x = static_cast<const T*>(args.x);
  auto* y = static_cast<T*>(args.y);
  const auto fill = static_cast<T>(args.fill);
  const int64_t n = args.n, width = args.width;
  const int64_t grain = (1 << 15) / (width + 1) + 1;
  context.pool.parallel_for(args.outer * n, grain, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end;) {
      const int64_t o = r / n, i = r % n, count = n - i < end - r ? n - i : end - r;
      gather_some(x + o * args.rows * width, args.index + i, count, width, y + r * width,
                  args.fill_absent, fill);
      r += count;
    }
  });
}

}  // namespace

void gather_rows(const GatherRowsArgs& args, Context& context) {
  check_index(args);
  if (args.bytes) return gather_as<uint8_t>(args, context);
  gather_as<uint32_t>(args, context);
}

namespace {

// Columns [begin, end) of dx, of one matrix.
void scatter_columns(const ScatterAddRowsArgs& args, int64_t o, int64_t begin, int64_t end) {
  const int64_t width = args.width;
  float* dx = args.dx + o * args.rows * width;
  const float* dy = args.dy + o * args.n * width;
  if (end - begin == width) {
    for (int64_t i = 0; i < args.rows * width; ++i) dx[i] = 0;
  } else {
    for (int64_t r = 0; r < args.rows; ++r) {
      for (int64_t c = begin; c < end; ++c) dx[r * width + c] = 0;
    }
  }
  for (int64_t i = 0; i < args.n; ++i) {
    const int64_t r = args.index[i];
    if (r < 0 || r == args.skip) continue;
    for (int64_t c = begin; c < end; ++c) dx[r * width + c] += dy[i * width + c];
  }
}

}  // namespace

// Threads share the matrices or their columns, so that every sum has one order whatever their
// number.
void scatter_add_rows(const ScatterAddRowsArgs& args, Context& context) {
  const int64_t size = (args.rows + args.n) * args.width + 1;
  if (args.outer >= context.pool.threads()) {
    context.pool.parallel_for(args.outer, (1 << 15) / size + 1, [&](int64_t begin, int64_t end) {
      for (int64_t o = begin; o < end; ++o) scatter_columns(args, o, 0, args.width);
    });
    return;
  }
  const int64_t column = args.outer * (args.rows + args.n) + 1;
  context.pool.parallel_for(args.width, (1 << 15) / column + 8, [&](int64_t begin, int64_t end) {
    for (int64_t o = 0; o < args.outer; ++o) scatter_columns(args, o, begin, end);
  });
}

// Every run belongs to the row that begins it.
void sum_runs(const SumRunsArgs& args, Context& context) {
  const int64_t n = args.n, width = args.width;
  const int32_t* sorted = args.sorted;
  context.pool.parallel_for(n, (1 << 14) / (width + 1) + 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int32_t row = sorted[i];
      float* __restrict sum = args.sums + i * width;
      if (row < 0 || (i > 0 && sorted[i - 1] == row)) {
        args.index[i] = -1;
        for (int64_t c = 0; c < width; ++c) sum[c] = 0;
        continue;
      }
      args.index[i] = row;
      copy_elements(sum, args.x + args.order[i] * width, width);
      for (int64_t j = i + 1; j < n && sorted[j] == row; ++j) {
        const float* __restrict x = args.x + args.order[j] * width;
        for (int64_t c = 0; c < width; ++c) sum[c] += x[c];
      }
    }
  });
}

FUSED_RNN_KERNELS_END
