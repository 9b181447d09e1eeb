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

template <class T>
void copy_row(T* out, const T* in, int64_t n, int64_t stride) {
  if (stride == 1) {
    if (n >= kTile) {
      std::memcpy(out, in, static_cast<size_t>(n) * sizeof(T));
    } else {
      for (int64_t i = 0; i < n; ++i) out[i] = in[i];
    }
  } else if (stride == -1) {
    const T* first = in - (n - 1);
    for (int64_t i = 0; i < n; ++i) out[i] = first[n - 1 - i];
  } else if (stride == 0) {
    const T value = *in;
    for (int64_t i = 0; i < n; ++i) out[i] = value;
  } else {
    for (int64_t i = 0; i < n; ++i) out[i] = in[i * stride];
  }
}

// Rows [begin, end) of `width` elements, counted through all dimensions but the last.
template <class T>
void copy_rows(T* out, const T* in, const int64_t* shape, const int64_t* strides, int last,
               int64_t begin, int64_t end) {
  const int64_t width = shape[last];
  int64_t index[kMaxDims] = {}, at = 0, rest = begin;
  for (int d = last - 1; d >= 0; --d) {
    index[d] = rest % shape[d];
    rest /= shape[d];
    at += index[d] * strides[d];
  }
  for (int64_t r = begin; r < end; ++r) {
    copy_row(out + r * width, in + at, width, strides[last]);
    for (int d = last - 1; d >= 0; --d) {
      at += strides[d];
      if (++index[d] < shape[d]) break;
      at -= shape[d] * strides[d];
      index[d] = 0;
    }
  }
}

template <class T>
void copy_strided_as(const CopyStridedArgs& args, Context& context) {
  auto* to_all = static_cast<T*>(args.out);
  const auto* from_all = static_cast<const T*>(args.in);
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
    if (sizeof(T) == 4 && strides[d] == 1 && strides[last] != 1 && strides[last] != 0) inner = d;
  }
  const int64_t width = shape[last];
  if (inner == last) {
    const int64_t rows = out_strides[0] * shape[0] / width;
    if (rows == 1) {
      context.pool.parallel_for(width, kGrain, [&](int64_t b, int64_t e) {
        copy_row(to_all + b, from_all + b * strides[last], e - b, strides[last]);
      });
    } else {
      context.pool.parallel_for(rows, kGrain / width + 1, [&](int64_t b, int64_t e) {
        copy_rows(to_all, from_all, shape, strides, last, b, e);
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
          transpose(reinterpret_cast<const float*>(from_all + in + from), width, to - from,
                    strides[last],
                    reinterpret_cast<float*>(to_all + out + from * out_strides[inner]),
                    out_strides[inner]);
          task += count;
        }
      });
}

template <class T>
void concat_as(const ConcatArgs& args, Context& context) {
  auto* all = static_cast<T*>(args.out);
  int64_t total = 0;
  for (int64_t i = 0; i < args.count; ++i) total += args.widths[i];
  if (total == 0) return;
  int64_t column = 0;
  for (int64_t i = 0; i < args.count; ++i) {
    const T* in = static_cast<const T*>(args.ins[i]);
    const int64_t width = args.widths[i];
    const auto zeros_or_copy = [&](T* out, int64_t from, int64_t n) {
      if (in != nullptr) return copy_row(out, in + from, n, 1);
      for (int64_t c = 0; c < n; ++c) out[c] = 0;
    };
    if (args.outer == 1) {
      context.pool.parallel_for(
          width, kGrain, [&](int64_t b, int64_t e) { zeros_or_copy(all + column + b, b, e - b); });
    } else {
      context.pool.parallel_for(args.outer, kGrain / (width + 1) + 1, [&](int64_t b, int64_t e) {
        for (int64_t r = b; r < e; ++r) {
          zeros_or_copy(all + r * total + column, r * width, width);
        }
      });
    }
    column += width;
  }
}

}  // namespace

void copy_strided(const CopyStridedArgs& args, Context& context) {
  if (args.bytes) return copy_strided_as<uint8_t>(args, context);
  copy_strided_as<uint32_t>(args, context);
}

void concat(const ConcatArgs& args, Context& context) {
  if (args.bytes) return concat_as<uint8_t>(args, context);
  concat_as<uint32_t>(args, context);
}

FUSED_RNN_KERNELS_END
