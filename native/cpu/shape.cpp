// Copies between layouts.
#include "cpu/isa.h"

FUSED_RNN_KERNELS_BEGIN

namespace {

constexpr int64_t kGrain = 1 << 14;
constexpr int64_t kTile = 16;  // elements: one cache line on a side

// Size-one dimensions are dropped, and neighbours that one stride can walk become one.
int collapse(const CopyStridedArgs& args, int64_t* shape, int64_t* strides) {
  int dims = 0;
  for (int d = 0; d < args.dims; ++d) {
    if (args.shape[d] == 1) continue;
    if (dims > 0 && strides[dims - 1] == args.strides[d] * args.shape[d]) {
      shape[dims - 1] *= args.shape[d];
      strides[dims - 1] = args.strides[d];
    } else {
      shape[dims] = args.shape[d];
      strides[dims] = args.strides[d];
      dims += 1;
    }
  }
  if (dims == 0) {
    shape[0] = 1;
    strides[0] = 1;
    dims = 1;
  }
  return dims;
}

void copy_row(uint32_t* out, const uint32_t* in, int64_t n, int64_t stride) {
  if (stride == 1) {
    for (int64_t i = 0; i < n; ++i) out[i] = in[i];
  } else {
    for (int64_t i = 0; i < n; ++i) out[i] = in[i * stride];
  }
}

// out[i * out_stride + j] = in[i * in_i + j * in_j] for i in [begin, end), tile by tile: in_i is
// short where in_j is long.
void transpose_rows(uint32_t* out, const uint32_t* in, int64_t begin, int64_t end, int64_t columns,
                    int64_t out_stride, int64_t in_i, int64_t in_j) {
  for (int64_t i0 = begin; i0 < end; i0 += kTile) {
    const int64_t i1 = i0 + kTile < end ? i0 + kTile : end;
    for (int64_t j0 = 0; j0 < columns; j0 += kTile) {
      const int64_t j1 = j0 + kTile < columns ? j0 + kTile : columns;
      for (int64_t i = i0; i < i1; ++i) {
        for (int64_t j = j0; j < j1; ++j) out[i * out_stride + j] = in[i * in_i + j * in_j];
      }
    }
  }
}

}  // namespace

void copy_strided(const CopyStridedArgs& args, Context& context) {
  for (int d = 0; d < args.dims; ++d) {
    if (args.shape[d] == 0) return;
  }
  int64_t shape[kMaxDims], strides[kMaxDims], out_strides[kMaxDims];
  const int dims = collapse(args, shape, strides);
  out_strides[dims - 1] = 1;
  for (int d = dims - 1; d > 0; --d) out_strides[d - 1] = out_strides[d] * shape[d];
  const int last = dims - 1;
  // The dimension that is contiguous in the input, when it is not the last: tiles of it and the
  // last are read and written a cache line at a time.
  int inner = last;
  for (int d = 0; d < last; ++d) {
    if (strides[d] == 1 && strides[last] != 1 && strides[last] != 0) inner = d;
  }
  const int64_t width = shape[last];
  if (inner == last) {
    const int64_t rows = out_strides[0] * shape[0] / width;
    auto part = [&](int64_t begin, int64_t end, int64_t from, int64_t to) {
      for (int64_t r = begin; r < end; ++r) {
        int64_t offset = from * strides[last], rest = r;
        for (int d = last - 1; d >= 0; --d) {
          offset += rest % shape[d] * strides[d];
          rest /= shape[d];
        }
        copy_row(args.out + r * width + from, args.in + offset, to - from, strides[last]);
      }
    };
    if (rows == 1) {
      context.pool.parallel_for(width, kGrain, [&](int64_t b, int64_t e) { part(0, 1, b, e); });
    } else {
      context.pool.parallel_for(rows, kGrain / width + 1,
                                [&](int64_t b, int64_t e) { part(b, e, 0, width); });
    }
    return;
  }
  int64_t matrices = 1;
  for (int d = 0; d < last; ++d) matrices *= d == inner ? 1 : shape[d];
  const int64_t blocks = (shape[inner] + kTile - 1) / kTile;
  context.pool.parallel_for(
      matrices * blocks, kGrain / (kTile * width) + 1, [&](int64_t begin, int64_t end) {
        for (int64_t task = begin; task < end; ++task) {
          int64_t in = 0, out = 0, rest = task / blocks;
          for (int d = last - 1; d >= 0; --d) {
            if (d == inner) continue;
            in += rest % shape[d] * strides[d];
            out += rest % shape[d] * out_strides[d];
            rest /= shape[d];
          }
          const int64_t from = task % blocks * kTile;
          const int64_t to = from + kTile < shape[inner] ? from + kTile : shape[inner];
          transpose_rows(args.out + out, args.in + in, from, to, width, out_strides[inner],
                         strides[inner], strides[last]);
        }
      });
}

void concat(const ConcatArgs& args, Context& context) {
  int64_t total = 0;
  for (int64_t i = 0; i < args.count; ++i) total += args.widths[i];
  if (total == 0) return;
  int64_t column = 0;
  for (int64_t i = 0; i < args.count; ++i) {
    const uint32_t* in = args.ins[i];
    const int64_t width = args.widths[i];
    auto part = [&](int64_t begin, int64_t end, int64_t from, int64_t to) {
      for (int64_t r = begin; r < end; ++r) {
        uint32_t* out = args.out + r * total + column;
        if (in == nullptr) {
          for (int64_t c = from; c < to; ++c) out[c] = 0;
        } else {
          for (int64_t c = from; c < to; ++c) out[c] = in[r * width + c];
        }
      }
    };
    if (args.outer == 1) {
      context.pool.parallel_for(width, kGrain, [&](int64_t b, int64_t e) { part(0, 1, b, e); });
    } else {
      context.pool.parallel_for(args.outer, kGrain / (width + 1) + 1,
                                [&](int64_t b, int64_t e) { part(b, e, 0, width); });
    }
    column += width;
  }
}

FUSED_RNN_KERNELS_END
