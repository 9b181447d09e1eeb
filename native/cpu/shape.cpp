// Copies between layouts.
#include <cstring>

#include "cpu/isa.h"
#include "cpu/transpose.h"

FUSED_RNN_KERNELS_BEGIN

namespace {

constexpr int64_t kGrain = 1 << 14;
constexpr int64_t kTile = 16;  // elements: a cache line

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
    if (n >= kTile) {
      std::memcpy(out, in, static_cast<size_t>(n) * 4);
    } else {
      for (int64_t i = 0; i < n; ++i) out[i] = in[i];
    }
  } else if (stride == -1) {
    const uint32_t* first = in - (n - 1);
    for (int64_t i = 0; i < n; ++i) out[i] = first[n - 1 - i];
  } else if (stride == 0) {
    const uint32_t value = *in;
    for (int64_t i = 0; i < n; ++i) out[i] = value;
  } else {
    for (int64_t i = 0; i < n; ++i) out[i] = in[i * stride];
  }
}

// Rows [begin, end) of `width` elements, counted through all dimensions but the last.
void copy_rows(const CopyStridedArgs& args, const int64_t* shape, const int64_t* strides, int last,
               int64_t begin, int64_t end) {
  const int64_t width = shape[last];
  int64_t index[kMaxDims] = {}, at = 0, rest = begin;
  for (int d = last - 1; d >= 0; --d) {
    index[d] = rest % shape[d];
    rest /= shape[d];
    at += index[d] * strides[d];
  }
  for (int64_t r = begin; r < end; ++r) {
    copy_row(args.out + r * width, args.in + at, width, strides[last]);
    for (int d = last - 1; d >= 0; --d) {
      at += strides[d];
      if (++index[d] < shape[d]) break;
      at -= shape[d] * strides[d];
      index[d] = 0;
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
  // The dimension that is contiguous in the input, when it is not the last: with the last it makes
  // matrices to be transposed.
  int inner = last;
  for (int d = 0; d < last; ++d) {
    if (strides[d] == 1 && strides[last] != 1 && strides[last] != 0) inner = d;
  }
  const int64_t width = shape[last];
  if (inner == last) {
    const int64_t rows = out_strides[0] * shape[0] / width;
    if (rows == 1) {
      context.pool.parallel_for(width, kGrain, [&](int64_t b, int64_t e) {
        copy_row(args.out + b, args.in + b * strides[last], e - b, strides[last]);
      });
    } else {
      context.pool.parallel_for(rows, kGrain / width + 1, [&](int64_t b, int64_t e) {
        copy_rows(args, shape, strides, last, b, e);
      });
    }
    return;
  }
  int64_t matrices = 1;
  for (int d = 0; d < last; ++d) matrices *= d == inner ? 1 : shape[d];
  const int64_t blocks = (shape[inner] + kTile - 1) / kTile;
  context.pool.parallel_for(
      matrices * blocks, kGrain / (kTile * width) + 1, [&](int64_t begin, int64_t end) {
        for (int64_t task = begin; task < end;) {
          const int64_t first = task % blocks;
          const int64_t count = blocks - first < end - task ? blocks - first : end - task;
          int64_t in = 0, out = 0, rest = task / blocks;
          for (int d = last - 1; d >= 0; --d) {
            if (d == inner) continue;
            in += rest % shape[d] * strides[d];
            out += rest % shape[d] * out_strides[d];
            rest /= shape[d];
          }
          const int64_t from = first * kTile;
          const int64_t to = first + count < blocks ? (first + count) * kTile : shape[inner];
          // What the elements are does not matter to a transpose.
          transpose(reinterpret_cast<const float*>(args.in + in + from), width, to - from,
                    strides[last],
                    reinterpret_cast<float*>(args.out + out + from * out_strides[inner]),
                    out_strides[inner]);
          task += count;
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
    const auto zeros_or_copy = [&](uint32_t* out, int64_t from, int64_t n) {
      if (in != nullptr) return copy_row(out, in + from, n, 1);
      for (int64_t c = 0; c < n; ++c) out[c] = 0;
    };
    if (args.outer == 1) {
      context.pool.parallel_for(width, kGrain, [&](int64_t b, int64_t e) {
        zeros_or_copy(args.out + column + b, b, e - b);
      });
    } else {
      context.pool.parallel_for(args.outer, kGrain / (width + 1) + 1, [&](int64_t b, int64_t e) {
        for (int64_t r = b; r < e; ++r) {
          zeros_or_copy(args.out + r * total + column, r * width, width);
        }
      });
    }
    column += width;
  }
}

FUSED_RNN_KERNELS_END
