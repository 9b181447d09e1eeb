// Rows by index, and adding rows back: embedding, packing, permuting states.
#include "core/failure.h"
#include "cpu/isa.h"

FUSED_RNN_KERNELS_BEGIN

void gather_rows(const GatherRowsArgs& args, Context& context) {
  const int32_t lowest = args.fill_absent ? -1 : 0;
  for (int64_t i = 0; i < args.n; ++i) {
    const int32_t index = args.index[i];
    if (index < lowest || index >= args.rows) fail_index(args.op, "index", i, index, args.rows);
  }
  const int64_t width = args.width;
  const int64_t grain = (1 << 15) / (width + 1) + 1;
  context.pool.parallel_for(args.outer * args.n, grain, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const int64_t index = args.index[r % args.n];
      uint32_t* y = args.y + r * width;
      if (index < 0) {
        for (int64_t c = 0; c < width; ++c) y[c] = args.fill;
      } else {
        const uint32_t* x = args.x + (r / args.n * args.rows + index) * width;
        for (int64_t c = 0; c < width; ++c) y[c] = x[c];
      }
    }
  });
}

// Threads share the columns, so that every sum has one order whatever their number.
void scatter_add_rows(const ScatterAddRowsArgs& args, Context& context) {
  const int64_t width = args.width;
  const int64_t column = args.outer * (args.rows + args.n) + 1;
  context.pool.parallel_for(width, (1 << 15) / column + 8, [&](int64_t begin, int64_t end) {
    for (int64_t o = 0; o < args.outer; ++o) {
      float* dx = args.dx + o * args.rows * width;
      const float* dy = args.dy + o * args.n * width;
      for (int64_t r = 0; r < args.rows; ++r) {
        for (int64_t c = begin; c < end; ++c) dx[r * width + c] = 0;
      }
      for (int64_t i = 0; i < args.n; ++i) {
        const int64_t r = args.index[i];
        if (r < 0 || r == args.skip) continue;
        for (int64_t c = begin; c < end; ++c) dx[r * width + c] += dy[i * width + c];
      }
    }
  });
}

FUSED_RNN_KERNELS_END
