// Sums and largest values that several kernels need. The work is cut by the sizes alone and added
// up in a fixed order, so that the bits are the same on every GPU. For .cu files.
#pragma once

#include <limits>
#include <type_traits>

#include "cuda/device/device.h"

namespace fused_rnn::cuda {

// out[o, c] = scale * sum over r of in[o, r, c]; ld elements from row to row. On the main stream.
void column_sum(CudaDevice& device, const float* in, int64_t outer, int64_t rows, int64_t columns,
                int64_t ld, float scale, float* out);

namespace reduce {
struct Plus {
  template <class T>
  __device__ T operator()(T a, T b) const {
    return a + b;
  }
};
// NaNs are passed over.
struct Larger {
  __device__ float operator()(float a, float b) const { return b > a ? b : a; }
};
struct Smaller {
  template <class T>
  __device__ T operator()(T a, T b) const {
    return b < a ? b : a;
  }
};
}  // namespace reduce

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

// The threads that work on one row: a warp, or a block of kBlock threads.
template <bool whole_block>
struct RowGroup {
  static constexpr int kThreads = whole_block ? kBlock : kWarp;
  static constexpr int kTeams = kBlock / kThreads;  // of one block

  // Rows [row, …) of this group, every `step` rows one.
  __device__ static int64_t first_row() {
    return static_cast<int64_t>(blockIdx.x) * kTeams + threadIdx.x / kThreads;
  }
  __device__ static int64_t step() { return static_cast<int64_t>(gridDim.x) * kTeams; }
  __device__ static int rank() { return static_cast<int>(threadIdx.x) % kThreads; }

  // Every thread of the group gets the result. `scratch`: shared, kWarp elements.
  template <class T, class F>
  __device__ static T reduce(T x, std::type_identity_t<T> nothing, T* scratch, F combine) {
    if constexpr (whole_block) return block_reduce(x, nothing, scratch, combine);
    return warp_reduce(x, combine);
  }
  template <class T>
  __device__ static T sum(T x, T* scratch) {
    return reduce(x, 0, scratch, reduce::Plus{});
  }

  static dim3 grid(int64_t rows) {
    return dim3(static_cast<unsigned>(std::min<int64_t>((rows + kTeams - 1) / kTeams, 1 << 16)));
  }
};

// Calls with_row_group(RowGroup<…>) of the size that suits rows of n elements.
template <class F>
void with_row_group(int64_t n, F f) {
  if (n <= 512) {
    f(RowGroup<false>{});
  } else {
    f(RowGroup<true>{});
  }
}

// ---- Sums of many elements, then something done with them ---------------------------------------

constexpr int64_t kPart = 8192;  // elements that one block adds up

// finish(row, sum of f(row, i) for i < n), a group for each row.
template <class Group, class Sum, class F, class Finish>
__global__ void __launch_bounds__(kBlock)
    sum_rows_kernel(int64_t rows, int64_t n, F f, Finish finish) {
  FUSED_RNN_SHARED(Sum, scratch, kWarp);
  for (int64_t row = Group::first_row(); row < rows; row += Group::step()) {
    Sum sum = 0;
    for (int64_t i = Group::rank(); i < n; i += Group::kThreads) sum += f(row, i);
    sum = Group::sum(sum, scratch);
    if (Group::rank() == 0) finish(row, sum);
  }
}

// The same of rows of many elements: f of one part.
template <class F>
struct PartOfRow {
  F f;
  int64_t n, parts;
  __device__ auto operator()(int64_t part, int64_t i) const {
    const int64_t row = part / parts;
    const int64_t at = part % parts * kPart + i;
    return at < n ? f(row, at) : decltype(f(row, at))(0);
  }
};
template <class Sum>
struct KeepPart {
  Sum* sums;
  __device__ void operator()(int64_t part, Sum sum) const { sums[part] = sum; }
};
template <class Sum>
struct SumOfPart {
  const Sum* sums;
  int64_t parts;
  __device__ Sum operator()(int64_t row, int64_t part) const { return sums[row * parts + part]; }
};

// finish(row, sum) on one thread for every row; Sum: double, or uint32_t of numbers that wrap
// around.
template <class Sum, class F, class Finish>
void sum_rows(CudaDevice& device, int64_t rows, int64_t n, F f, Finish finish) {
  if (n <= kPart) {
    return with_row_group(n, [&](auto group) {
      using Group = decltype(group);
      launch(sum_rows_kernel<Group, Sum, F, Finish>, Group::grid(rows), dim3(kBlock), 0,
             device.stream(), rows, n, f, finish);
    });
  }
  const int64_t parts = (n + kPart - 1) / kPart;
  DeviceScratch scratch(device, rows * parts * static_cast<int64_t>(sizeof(Sum) / sizeof(float)));
  Sum* sums = reinterpret_cast<Sum*>(scratch.data());
  using Whole = RowGroup<true>;
  launch(sum_rows_kernel<Whole, Sum, PartOfRow<F>, KeepPart<Sum>>, Whole::grid(rows * parts),
         dim3(kBlock), 0, device.stream(), rows * parts, kPart, PartOfRow<F>{f, n, parts},
         KeepPart<Sum>{sums});
  launch(sum_rows_kernel<Whole, Sum, SumOfPart<Sum>, Finish>, Whole::grid(rows), dim3(kBlock), 0,
         device.stream(), rows, parts, SumOfPart<Sum>{sums, parts}, finish);
}

}  // namespace fused_rnn::cuda
