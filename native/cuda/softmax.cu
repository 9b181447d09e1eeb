// Softmax and its logarithm over the middle dimension of [outer, n, inner]. Where that is the last
// one, a group of threads works on each row; else blocks of kWarp x kLines threads on kWarp columns
// each.
#include "cells/math.h"
#include "cuda/ops.h"
#include "cuda/reduce.h"

namespace fused_rnn::cuda {
namespace {

constexpr int kLines = kBlock / kWarp;

// A line of n elements, `stride` apart, and how threads share it: the ranks of a group take one
// element each in turn. All threads of a block make the same calls, those without a line with n =
// 0.
template <class GroupT>
struct RowLine {
  using Group = GroupT;
  static constexpr int kRanks = GroupT::kThreads;
  __device__ static int rank() { return GroupT::rank(); }
  template <class T, class F>
  __device__ static T reduce(T x, std::type_identity_t<T> nothing, T* scratch, F combine) {
    return GroupT::reduce(x, nothing, scratch, combine);
  }
};

struct ColumnLine {
  static constexpr int kRanks = kLines;
  __device__ static int rank() { return static_cast<int>(threadIdx.x) / kWarp; }
  // Over the ranks of one column. `scratch`: shared, kBlock elements.
  template <class T, class F>
  __device__ static T reduce(T x, T, T* scratch, F combine) {
    scratch[threadIdx.x] = x;
    __syncthreads();
    x = scratch[threadIdx.x % kWarp];
    for (int r = 1; r < kLines; ++r) x = combine(x, scratch[r * kWarp + threadIdx.x % kWarp]);
    __syncthreads();
    return x;
  }
};

// Calls f(offset of the first element, n, stride) for each line of this group.
template <class GroupT, class F>
__device__ void each_line(RowLine<GroupT>, int64_t outer, int64_t n, int64_t, F f) {
  for (int64_t row = GroupT::first_row(); row < outer; row += GroupT::step()) f(row * n, n, 1);
}
template <class F>
__device__ void each_line(ColumnLine, int64_t outer, int64_t n, int64_t inner, F f) {
  const int64_t tiles = (inner + kWarp - 1) / kWarp;
  for (int64_t block = blockIdx.x; block < outer * tiles; block += gridDim.x) {
    const int64_t c = block % tiles * kWarp + threadIdx.x % kWarp;
    f(block / tiles * n * inner + c, c < inner ? n : 0, inner);
  }
}

template <class Line>
struct Forward {
  bool log;
  const float* x_;
  float* y_;
  float* floats;
  double* doubles;
  __device__ void operator()(int64_t at, int64_t n, int64_t stride) const {
    const float* x = x_ + at;
    float* y = y_ + at;
    float max = kMinusInfinity;
    for (int64_t i = Line::rank(); i < n; i += Line::kRanks) {
      max = x[i * stride] > max ? x[i * stride] : max;
    }
    max = Line::reduce(max, kMinusInfinity, floats, reduce::Larger{});
    double sum = 0;
    for (int64_t i = Line::rank(); i < n; i += Line::kRanks) {
      const float e = exp_(x[i * stride] - max);
      if (!log) y[i * stride] = e;
      sum += e;
    }
    sum = Line::reduce(sum, 0.0, doubles, reduce::Plus{});
    if (log) {
      const auto log_sum = static_cast<float>(::log(sum));
      for (int64_t i = Line::rank(); i < n; i += Line::kRanks) {
        y[i * stride] = (x[i * stride] - max) - log_sum;
      }
    } else {
      const auto scale = static_cast<float>(1 / sum);
      for (int64_t i = Line::rank(); i < n; i += Line::kRanks) y[i * stride] *= scale;
    }
  }
};

template <class Line>
struct Backward {
  bool log;
  const float* dy_;
  const float* y_;
  float* dx_;
  double* doubles;
  __device__ void operator()(int64_t at, int64_t n, int64_t stride) const {
    const float *dy = dy_ + at, *y = y_ + at;
    float* dx = dx_ + at;
    double total = 0;
    for (int64_t i = Line::rank(); i < n; i += Line::kRanks) {
      total += log ? dy[i * stride] : dy[i * stride] * y[i * stride];
    }
    const auto sum = static_cast<float>(Line::reduce(total, 0.0, doubles, reduce::Plus{}));
    for (int64_t i = Line::rank(); i < n; i += Line::kRanks) {
      const int64_t j = i * stride;
      dx[j] = log ? dy[j] - exp_(y[j]) * sum : y[j] * (dy[j] - sum);
    }
  }
};

template <class Line>
__global__ void __launch_bounds__(kBlock) softmax_kernel(SoftmaxArgs args) {
  FUSED_RNN_SHARED(float, floats, kBlock);
  FUSED_RNN_SHARED(double, doubles, kBlock);
  each_line(Line{}, args.outer, args.n, args.inner,
            Forward<Line>{args.log, args.x, args.y, floats, doubles});
}

template <class Line>
__global__ void __launch_bounds__(kBlock) softmax_backward_kernel(SoftmaxBackwardArgs args) {
  FUSED_RNN_SHARED(double, doubles, kBlock);
  each_line(Line{}, args.outer, args.n, args.inner,
            Backward<Line>{args.log, args.dy, args.y, args.dx, doubles});
}

// Calls f(line, grid) for the kind of lines that the shape has.
template <class Args, class F>
void with_lines(const Args& args, F f) {
  if (args.n == 0) return;
  if (args.inner == 1) {
    return with_row_group(args.n, [&](auto group) {
      f(RowLine<decltype(group)>{}, decltype(group)::grid(args.outer));
    });
  }
  const int64_t blocks = args.outer * ((args.inner + kWarp - 1) / kWarp);
  f(ColumnLine{}, dim3(static_cast<unsigned>(std::min<int64_t>(blocks, 1 << 16))));
}

}  // namespace

void softmax(const SoftmaxArgs& args, Context& context) {
  with_lines(args, [&](auto line, dim3 grid) {
    launch(softmax_kernel<decltype(line)>, grid, dim3(kBlock), 0, device_of(context).stream(),
           args);
  });
}

void softmax_backward(const SoftmaxBackwardArgs& args, Context& context) {
  with_lines(args, [&](auto line, dim3 grid) {
    launch(softmax_backward_kernel<decltype(line)>, grid, dim3(kBlock), 0,
           device_of(context).stream(), args);
  });
}

}  // namespace fused_rnn::cuda
