// Sum and maximum over one dimension of [outer, n, inner].
#include "cuda/elements.h"
#include "cuda/ops.h"
#include "cuda/reduce.h"

namespace fused_rnn::cuda {
namespace {

constexpr int kLines = kBlock / kWarp;  // rows side by side: a warp each, over kWarp columns
constexpr int kFloatRows = 32;          // summed in float before they are added in double
constexpr int64_t kPartRows = kLines * kFloatRows;  // that one block adds up

template <class Sum>
Sum* sums_of(DeviceScratch& scratch) {
  return reinterpret_cast<Sum*>(scratch.data());
}

// Blocks of kWarp x kLines threads, each for kWarp columns of one part of one outer index:
// sums[o, part, c] = sum of in[o, r, c] over the part's rows r.
template <class T, class Sum, class Out, class Finish>
__global__ void __launch_bounds__(kBlock)
    sum_columns_kernel(const T* in, int64_t outer, int64_t rows, int64_t columns, int64_t ld,
                       int64_t parts, int64_t tiles, Out* out, Finish finish) {
  FUSED_RNN_SHARED(Sum, lines, kBlock);
  const int64_t blocks = outer * parts * tiles;
  for (int64_t block = blockIdx.x; block < blocks; block += gridDim.x) {
    const int64_t c = block % tiles * kWarp + threadIdx.x;
    const int64_t part = block / tiles % parts, o = block / tiles / parts;
    const int64_t begin = part * kPartRows + threadIdx.y;
    const int64_t end = min(rows, (part + 1) * kPartRows);
    T sum = 0;
    if (c < columns) {
      const T* column = in + o * rows * ld + c;
#pragma unroll 4
      for (int64_t r = begin; r < end; r += kLines) sum += column[r * ld];
    }
    lines[threadIdx.y * kWarp + threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y == 0 && c < columns) {
      Sum total = 0;
      for (int line = 0; line < kLines; ++line) total += lines[line * kWarp + threadIdx.x];
      out[(o * parts + part) * columns + c] = finish(total);
    }
    __syncthreads();
  }
}

// out[o, c] = finish(sum of the parts' sums)
template <class Sum, class Out, class Finish>
struct AddParts {
  const Sum* sums;
  int64_t parts, columns;
  Out* out;
  Finish finish;
  __device__ void operator()(int64_t i) const {
    const int64_t o = i / columns, c = i % columns;
    Sum total = 0;
    for (int64_t part = 0; part < parts; ++part) total += sums[(o * parts + part) * columns + c];
    out[i] = finish(total);
  }
};

template <class Sum>
struct Unchanged {
  __device__ Sum operator()(Sum sum) const { return sum; }
};
struct Scale {
  float scale;
  __device__ float operator()(double sum) const { return static_cast<float>(scale * sum); }
};

template <class T, class Sum, class Finish>
void sum_columns(CudaDevice& device, const T* in, int64_t outer, int64_t rows, int64_t columns,
                 int64_t ld, T* out, Finish finish) {
  const int64_t parts = std::max<int64_t>(1, (rows + kPartRows - 1) / kPartRows);
  const int64_t tiles = (columns + kWarp - 1) / kWarp;
  const dim3 grid(static_cast<unsigned>(std::min<int64_t>(outer * parts * tiles, 1 << 16)));
  const dim3 block(kWarp, kLines);
  if (parts == 1) {
    launch(sum_columns_kernel<T, Sum, T, Finish>, grid, block, 0, device.stream(), in, outer, rows,
           columns, ld, parts, tiles, out, finish);
    return;
  }
  constexpr int64_t kFloats = sizeof(Sum) / sizeof(float);
  DeviceScratch scratch(device, outer * parts * columns * kFloats);
  Sum* sums = sums_of<Sum>(scratch);
  launch(sum_columns_kernel<T, Sum, Sum, Unchanged<Sum>>, grid, block, 0, device.stream(), in,
         outer, rows, columns, ld, parts, tiles, sums, Unchanged<Sum>{});
  each(device, outer * columns, AddParts<Sum, T, Finish>{sums, parts, columns, out, finish});
}

template <class T>
struct RowElement {
  const T* in;
  int64_t n;
  __device__ T operator()(int64_t row, int64_t i) const { return in[row * n + i]; }
};
template <class T, class Sum, class Finish>
struct WriteSum {
  T* out;
  Finish finish;
  __device__ void operator()(int64_t row, Sum sum) const { out[row] = finish(sum); }
};

template <class T, class Sum, class Finish>
void sum_any(const SumArgs& args, CudaDevice& device, Finish finish) {
  const T* in = static_cast<const T*>(args.in);
  T* out = static_cast<T*>(args.out);
  if (args.inner > 1) {
    return sum_columns<T, Sum>(device, in, args.outer, args.n, args.inner, args.inner, out, finish);
  }
  sum_rows<Sum>(device, args.outer * args.inner, args.n, RowElement<T>{in, args.n},
                WriteSum<T, Sum, Finish>{out, finish});
}

// ---- Maximum ----------------------------------------------------------------------------------

// The order turned round, so that the smallest is found as the largest is; its own inverse.
__device__ float turned(float x, bool smallest) { return smallest ? -x : x; }
__device__ int32_t turned(int32_t x, bool smallest) { return smallest ? ~x : x; }

template <class T>
struct Best {
  T value;
  int64_t index;  // -1: none yet
};

// A NaN is larger than any number; of equal ones the first counts.
template <class T>
__device__ Best<T> better(Best<T> a, Best<T> b) {
  if (b.index < 0) return a;
  if (a.index < 0) return b;
  const bool nan_a = a.value != a.value, nan_b = b.value != b.value;
  if (nan_a != nan_b) return nan_a ? a : b;
  if (!nan_a && a.value != b.value) return b.value > a.value ? b : a;
  return b.index < a.index ? b : a;
}

// The best of a block of kWarp x kLines threads, of those that have the same threadIdx.x when
// `each_column`. Thread (x, 0) gets it.
template <class T>
__device__ Best<T> best_of_block(Best<T> best, bool each_column, T* values, int64_t* indices) {
  const int at = threadIdx.y * kWarp + threadIdx.x;
  values[at] = best.value;
  indices[at] = best.index;
  __syncthreads();
  for (int half = kBlock / 2; half >= (each_column ? kWarp : 1); half /= 2) {
    if (at < half) {
      best = better(best, Best<T>{values[at + half], indices[at + half]});
      values[at] = best.value;
      indices[at] = best.index;
    }
    __syncthreads();
  }
  return best;
}

// Blocks of kWarp x kLines threads. inner 1: each for one part of a row, all threads over its
// elements. Otherwise: each for kWarp columns of one part of one outer index, parts of rows.
// The best of each part goes to [outer, parts, inner], or, where `indices` are given, those are
// the positions of the n elements (of a pass before this one).
template <class T>
__global__ void __launch_bounds__(kBlock)
    max_kernel(const T* in, const int32_t* positions, int64_t outer, int64_t n, int64_t inner,
               int64_t part_size, int64_t parts, int64_t tiles, bool smallest, T* value,
               int32_t* index) {
  FUSED_RNN_SHARED(T, values, kBlock);
  FUSED_RNN_SHARED(int64_t, indices, kBlock);
  const bool columns = inner > 1;
  const int64_t blocks = outer * parts * tiles;
  for (int64_t block = blockIdx.x; block < blocks; block += gridDim.x) {
    const int64_t c = columns ? block % tiles * kWarp + threadIdx.x : 0;
    const int64_t part = block / tiles % parts, o = block / tiles / parts;
    const int64_t begin = part * part_size, end = min(n, begin + part_size);
    const int64_t first = columns ? threadIdx.y : threadIdx.y * kWarp + threadIdx.x;
    const int64_t step = columns ? kLines : kBlock;
    Best<T> best{0, -1};
    if (c < inner) {
      for (int64_t i = begin + first; i < end; i += step) {
        const int64_t at = (o * n + i) * inner + c;
        best = better(best,
                      Best<T>{turned(in[at], smallest), positions == nullptr ? i : positions[at]});
      }
    }
    best = best_of_block(best, columns, values, indices);
    if (threadIdx.y == 0 && c < inner && (columns || threadIdx.x == 0)) {
      const int64_t at = (o * parts + part) * inner + c;
      if (value != nullptr) value[at] = turned(best.value, smallest);
      if (index != nullptr) index[at] = static_cast<int32_t>(best.index);
    }
    __syncthreads();
  }
}

template <class T>
void max_any(const MaxArgs& args, CudaDevice& device) {
  const int64_t outer = args.outer, n = args.n, inner = args.inner;
  const T* in = static_cast<const T*>(args.in);
  T* value = static_cast<T*>(args.value);
  const int64_t tiles = inner > 1 ? (inner + kWarp - 1) / kWarp : inner;
  const auto pass = [&](const T* from, const int32_t* positions, int64_t rows, int64_t part_size,
                        int64_t parts, T* to, int32_t* to_index) {
    const dim3 grid(static_cast<unsigned>(std::min<int64_t>(outer * parts * tiles, 1 << 16)));
    launch(max_kernel<T>, grid, dim3(kWarp, kLines), 0, device.stream(), from, positions, outer,
           rows, inner, part_size, parts, tiles, args.smallest, to, to_index);
  };
  const int64_t part_size = inner > 1 ? kPartRows : kPart;
  const int64_t parts = (n + part_size - 1) / part_size;
  if (parts == 1) return pass(in, nullptr, n, n, 1, value, args.index);
  DeviceScratch values(device, outer * parts * inner), indices(device, outer * parts * inner);
  T* part_values = reinterpret_cast<T*>(values.data());
  auto* part_indices = reinterpret_cast<int32_t*>(indices.data());
  pass(in, nullptr, n, part_size, parts, part_values, part_indices);
  pass(part_values, part_indices, parts, parts, 1, value, args.index);
}

struct MaxGradient {
  float* dx;
  const float* dy;
  const int32_t* index;
  int64_t n, inner;
  bool small;
  __device__ void operator()(int64_t at) const {
    const Divided column = divide(at, inner, small);
    const Divided row = divide(column.quotient, n, small);
    const int64_t line = row.quotient * inner + column.rest;
    dx[at] = index[line] == row.rest ? dy[line] : 0;
  }
};

__device__ bool same(float x, float value) { return x == value || (x != x && value != value); }

// Of inner 1.
struct CountSame {
  const float* x;
  const float* value;
  int64_t n;
  __device__ double operator()(int64_t row, int64_t i) const {
    return same(x[row * n + i], value[row]);
  }
};
struct WriteShare {
  const float* dy;
  float* share;
  __device__ void operator()(int64_t row, double count) const {
    share[row] = dy[row] / static_cast<float>(count);
  }
};
// A thread for each column.
struct ShareOfColumn {
  const float* x;
  const float* value;
  const float* dy;
  float* share;
  int64_t n, inner;
  __device__ void operator()(int64_t column) const {
    const int64_t o = column / inner, c = column % inner;
    int64_t count = 0;
    for (int64_t i = 0; i < n; ++i) count += same(x[(o * n + i) * inner + c], value[column]);
    share[column] = dy[column] / static_cast<float>(count);
  }
};
struct GiveShare {
  const float* x;
  const float* value;
  const float* share;
  float* dx;
  int64_t n, inner;
  bool small;
  __device__ void operator()(int64_t i) const {
    const Divided column = divide(i, inner, small);
    const int64_t line = divide(column.quotient, n, small).quotient * inner + column.rest;
    dx[i] = same(x[i], value[line]) ? share[line] : 0;
  }
};

}  // namespace

void column_sum(CudaDevice& device, const float* in, int64_t outer, int64_t rows, int64_t columns,
                int64_t ld, float scale, float* out) {
  sum_columns<float, double>(device, in, outer, rows, columns, ld, out, Scale{scale});
}

void sum(const SumArgs& args, Context& context) {
  CudaDevice& device = device_of(context);
  if (args.integer) {
    return sum_any<uint32_t, uint32_t>(args, device, Unchanged<uint32_t>{});
  }
  sum_any<float, double>(args, device, Scale{args.scale});
}

void max(const MaxArgs& args, Context& context) {
  CudaDevice& device = device_of(context);
  if (args.integer) return max_any<int32_t>(args, device);
  max_any<float>(args, device);
}

void max_backward(const MaxBackwardArgs& args, Context& context) {
  const int64_t n = args.outer * args.n * args.inner;
  each(device_of(context), n,
       MaxGradient{args.dx, args.dy, args.index, args.n, args.inner, small_numbers(n)});
}

void extreme_backward(const ExtremeBackwardArgs& args, Context& context) {
  CudaDevice& device = device_of(context);
  const int64_t outer = args.outer, n = args.n, inner = args.inner, all = outer * n * inner;
  if (all == 0) return;
  DeviceScratch share(device, outer * inner);
  if (inner == 1) {
    sum_rows<double>(device, outer, n, CountSame{args.x, args.value, n},
                     WriteShare{args.dy, share.data()});
  } else {
    each(device, outer * inner, ShareOfColumn{args.x, args.value, args.dy, share.data(), n, inner});
  }
  each(device, all,
       GiveShare{args.x, args.value, share.data(), args.dx, n, inner, small_numbers(all)});
}

}  // namespace fused_rnn::cuda
