// Copies between layouts.
#include "cuda/elements.h"
#include "cuda/ops.h"

namespace fused_rnn::cuda {
namespace {

// The shape without dimensions of size one, with neighbours that one stride can walk made one.
struct Walk {
  int32_t dims;
  bool small;  // all numbers of elements fit 32 bits
  int64_t n;
  int64_t shape[kMaxDims], strides[kMaxDims];
};

Walk collapse(const CopyStridedArgs& args) {
  Walk walk{};
  walk.n = 1;
  for (int d = 0; d < args.dims; ++d) {
    walk.n *= args.shape[d];
    if (args.shape[d] == 1) continue;
    const int last = walk.dims - 1;
    if (last >= 0 && walk.strides[last] == args.strides[d] * args.shape[d]) {
      walk.shape[last] *= args.shape[d];
      walk.strides[last] = args.strides[d];
    } else {
      walk.shape[walk.dims] = args.shape[d];
      walk.strides[walk.dims] = args.strides[d];
      walk.dims += 1;
    }
  }
  walk.small = small_numbers(walk.n);
  return walk;
}

template <class T>
struct Same {
  __device__ T operator()(T x) const { return x; }
};

template <class T>
struct CopyElement {
  Walk walk;
  T* out;
  const T* in;
  __device__ void operator()(int64_t i) const {
    int64_t rest = i, from = 0;
#pragma unroll
    for (int d = kMaxDims - 1; d >= 0; --d) {
      if (d >= walk.dims) continue;
      const Divided by = divide(rest, walk.shape[d], walk.small);
      rest = by.quotient;
      from += by.rest * walk.strides[d];
    }
    out[i] = in[from];
  }
};

// A transposition: `inner`, not the last dimension, is the one whose neighbours lie side by side in
// the input. Tiles of kTile x kTile elements go through shared memory, so that both sides are read
// and written kTile neighbours at a time. Blocks of kTile x kTileRows threads, one for each tile.
constexpr int kTile = 32;
constexpr int kTileRows = 8;

struct Transposition {
  int64_t rows, columns;  // of `inner` and of the last dimension
  int64_t in_column;      // stride of the last dimension in the input
  int64_t out_row;        // stride of `inner` in the output
  int64_t row_tiles, column_tiles, tiles;
  int32_t others;  // dimensions besides these two
  int64_t shape[kMaxDims], in[kMaxDims], out[kMaxDims];
};

__global__ void __launch_bounds__(kTile* kTileRows)
    transpose_kernel(Transposition t, uint32_t* out, const uint32_t* in) {
  FUSED_RNN_SHARED(uint32_t, tile, kTile*(kTile + 1));  // a bank further each row
  for (int64_t block = blockIdx.x; block < t.tiles; block += gridDim.x) {
    const int64_t column0 = block % t.column_tiles * kTile;
    int64_t rest = block / t.column_tiles;
    const int64_t row0 = rest % t.row_tiles * kTile;
    rest /= t.row_tiles;
    int64_t from = 0, to = 0;
#pragma unroll
    for (int d = kMaxDims - 1; d >= 0; --d) {
      if (d >= t.others) continue;
      const int64_t index = rest % t.shape[d];
      rest /= t.shape[d];
      from += index * t.in[d];
      to += index * t.out[d];
    }
    const int64_t row = row0 + threadIdx.x;
    for (int j = threadIdx.y; j < kTile; j += kTileRows) {
      const int64_t column = column0 + j;
      if (row < t.rows && column < t.columns) {
        tile[j * (kTile + 1) + threadIdx.x] = in[from + row + column * t.in_column];
      }
    }
    __syncthreads();
    const int64_t column = column0 + threadIdx.x;
    for (int j = threadIdx.y; j < kTile; j += kTileRows) {
      if (row0 + j < t.rows && column < t.columns) {
        out[to + (row0 + j) * t.out_row + column] = tile[threadIdx.x * (kTile + 1) + j];
      }
    }
    __syncthreads();
  }
}

void transpose(CudaDevice& device, const Walk& walk, int inner, uint32_t* out, const uint32_t* in) {
  const int last = walk.dims - 1;
  Transposition t{};
  t.rows = walk.shape[inner];
  t.columns = walk.shape[last];
  t.in_column = walk.strides[last];
  t.row_tiles = (t.rows + kTile - 1) / kTile;
  t.column_tiles = (t.columns + kTile - 1) / kTile;
  t.tiles = t.row_tiles * t.column_tiles;
  int64_t out_stride = t.columns;
  int64_t out_strides[kMaxDims];
  for (int d = last - 1; d >= 0; --d) {
    out_strides[d] = out_stride;
    out_stride *= walk.shape[d];
  }
  t.out_row = out_strides[inner];
  for (int d = 0; d < last; ++d) {
    if (d == inner) continue;
    t.tiles *= walk.shape[d];
    t.shape[t.others] = walk.shape[d];
    t.in[t.others] = walk.strides[d];
    t.out[t.others] = out_strides[d];
    t.others += 1;
  }
  launch(transpose_kernel, dim3(static_cast<unsigned>(std::min<int64_t>(t.tiles, 1 << 16))),
         dim3(kTile, kTileRows), 0, device.stream(), t, out, in);
}

// A few inputs side by side, as a launch can take them.
template <class T>
struct Pieces {
  static constexpr int kMost = 128;
  int32_t count;
  bool small;
  int64_t width;  // of all of these
  int64_t total;  // of the output
  const T* in[kMost];
  int64_t begin[kMost];  // column of the first element, counted from these pieces' first
};

template <class T>
struct CopyPieces {
  Pieces<T> pieces;
  T* out;  // these pieces' first column
  __device__ void operator()(int64_t i) const {
    const Divided at = divide(i, pieces.width, pieces.small);
    int low = 0, high = pieces.count;  // the last piece that begins at or before the column
    while (high - low > 1) {
      const int middle = (low + high) / 2;
      (pieces.begin[middle] <= at.rest ? low : high) = middle;
    }
    const int64_t end = low + 1 < pieces.count ? pieces.begin[low + 1] : pieces.width;
    const int64_t begin = pieces.begin[low];
    const T* in = pieces.in[low];
    out[at.quotient * pieces.total + at.rest] =
        in == nullptr ? 0 : in[at.quotient * (end - begin) + at.rest - begin];
  }
};

template <class T>
void copy_strided_as(const CopyStridedArgs& args, Context& context) {
  auto* out = static_cast<T*>(args.out);
  const auto* in = static_cast<const T*>(args.in);
  CudaDevice& device = device_of(context);
  const Walk walk = collapse(args);
  if (walk.n == 0) return;
  const int last = walk.dims - 1;
  if (walk.dims == 0 || (walk.dims == 1 && walk.strides[0] == 1)) {
    return map(device, walk.n, Same<T>{}, out, in);
  }
  if constexpr (sizeof(T) == 4) {
    for (int d = 0; d < last && walk.strides[last] != 1 && walk.strides[last] != 0; ++d) {
      if (walk.strides[d] == 1) return transpose(device, walk, d, out, in);
    }
  }
  each(device, walk.n, CopyElement<T>{walk, out, in});
}

template <class T>
void concat_as(const ConcatArgs& args, Context& context) {
  CudaDevice& device = device_of(context);
  int64_t total = 0;
  for (int64_t i = 0; i < args.count; ++i) total += args.widths[i];
  int64_t column = 0;
  for (int64_t i = 0; i < args.count;) {
    Pieces<T> pieces{};
    pieces.total = total;
    for (; i < args.count && pieces.count < Pieces<T>::kMost; ++i) {
      if (args.widths[i] == 0) continue;
      pieces.in[pieces.count] = static_cast<const T*>(args.ins[i]);
      pieces.begin[pieces.count] = pieces.width;
      pieces.width += args.widths[i];
      pieces.count += 1;
    }
    const int64_t n = args.outer * pieces.width;
    pieces.small = small_numbers(n);
    each(device, n, CopyPieces<T>{pieces, static_cast<T*>(args.out) + column});
    column += pieces.width;
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

}  // namespace fused_rnn::cuda
