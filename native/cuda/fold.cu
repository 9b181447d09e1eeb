// Products, norms, variances and logsumexp over the middle dimension of [outer, n, inner]: each is
// a function of an element and of one number that is found first (a mean, a largest value), what
// combines two of them, and what is done with the result.
#include <math.h>

#include "cuda/elements.h"
#include "cuda/ops.h"
#include "cuda/reduce.h"

namespace fused_rnn::cuda {
namespace {

constexpr int kLines = kBlock / kWarp;  // rows side by side: a warp each, over kWarp columns
constexpr int64_t kPartRows = kLines * 32;

enum class Combine { add, multiply, most, least };

template <Combine how, class S>
__device__ S combined(S a, S b) {
  if constexpr (how == Combine::add) return a + b;
  if constexpr (how == Combine::multiply) return a * b;
  if constexpr (how == Combine::most) return b > a || b != b ? b : a;
  return b < a || b != b ? b : a;
}
template <Combine how, class S>
__device__ S neutral() {
  if constexpr (how == Combine::multiply) return 1;
  if constexpr (how == Combine::least) return INFINITY;
  return 0;
}

// What the first pass reads and every pass combines; of T, in S.
template <class T, class S, class F>
struct FirstPass {
  const T* in;
  const float* first;  // [outer, inner] or null
  int64_t n, inner;
  F f;
  __device__ S operator()(int64_t o, int64_t i, int64_t c) const {
    return f(in[(o * n + i) * inner + c], first == nullptr ? 0 : first[o * inner + c]);
  }
};
template <class S>
struct NextPass {
  const S* parts;
  int64_t n, inner;
  __device__ S operator()(int64_t o, int64_t i, int64_t c) const {
    return parts[(o * n + i) * inner + c];
  }
};

// As max_kernel of reduce.cu: inner 1: a block for one part of a row; otherwise one for kWarp
// columns of one part of the rows. out[o, part, c] = finish(…, its first number's place).
template <Combine how, class S, class Read, class Out, class Finish>
__global__ void __launch_bounds__(kBlock)
    combine_kernel(Read read, int64_t outer, int64_t n, int64_t inner, int64_t part_size,
                   int64_t parts, int64_t tiles, Out* out, Finish finish) {
  FUSED_RNN_SHARED(S, values, kBlock);
  const bool columns = inner > 1;
  const int thread = threadIdx.y * kWarp + threadIdx.x;
  for (int64_t block = blockIdx.x; block < outer * parts * tiles; block += gridDim.x) {
    const int64_t c = columns ? block % tiles * kWarp + threadIdx.x : 0;
    const int64_t part = block / tiles % parts, o = block / tiles / parts;
    const int64_t begin = part * part_size, end = min(n, begin + part_size);
    S value = neutral<how, S>();
    if (c < inner) {
      for (int64_t i = begin + (columns ? threadIdx.y : thread); i < end;
           i += columns ? kLines : kBlock) {
        value = combined<how>(value, read(o, i, c));
      }
    }
    values[thread] = value;
    __syncthreads();
    for (int half = kBlock / 2; half >= (columns ? kWarp : 1); half /= 2) {
      if (thread < half) values[thread] = combined<how>(values[thread], values[thread + half]);
      __syncthreads();
    }
    if (threadIdx.y == 0 && c < inner && (columns || threadIdx.x == 0)) {
      out[(o * parts + part) * inner + c] = finish(values[thread], o * inner + c);
    }
    __syncthreads();
  }
}

template <class S>
struct Keep {
  __device__ S operator()(S value, int64_t) const { return value; }
};

template <Combine how, class S, class T, class F, class Finish>
void combine(CudaDevice& device, const FoldArgs& args, const float* first, F f, T*, Finish finish) {
  const int64_t outer = args.outer, n = args.n, inner = args.inner;
  const int64_t tiles = inner > 1 ? (inner + kWarp - 1) / kWarp : inner;
  const int64_t part_size = inner > 1 ? kPartRows : kPart;
  const int64_t parts = std::max<int64_t>(1, (n + part_size - 1) / part_size);
  const dim3 block(kWarp, kLines);
  const auto grid = [&](int64_t count) {
    return dim3(static_cast<unsigned>(std::min<int64_t>(outer * count * tiles, 1 << 16)));
  };
  using First = FirstPass<T, S, F>;
  const First read{static_cast<const T*>(args.in), first, n, inner, f};
  T* out = static_cast<T*>(args.out);
  if (parts == 1) {
    launch(combine_kernel<how, S, First, T, Finish>, grid(1), block, 0, device.stream(), read,
           outer, n, inner, std::max<int64_t>(n, 1), int64_t{1}, tiles, out, finish);
    return;
  }
  DeviceScratch scratch(device, outer * parts * inner * static_cast<int64_t>(sizeof(S)) / 4);
  S* sums = reinterpret_cast<S*>(scratch.data());
  launch(combine_kernel<how, S, First, S, Keep<S>>, grid(parts), block, 0, device.stream(), read,
         outer, n, inner, part_size, parts, tiles, sums, Keep<S>{});
  launch(combine_kernel<how, S, NextPass<S>, T, Finish>, grid(1), block, 0, device.stream(),
         NextPass<S>{sums, parts, inner}, outer, parts, inner, parts, int64_t{1}, tiles, out,
         finish);
}

// ---- The kinds ----------------------------------------------------------------------------------

struct Itself {
  template <class T>
  __device__ T operator()(T x, float) const {
    return x;
  }
};
struct Exponential {
  __device__ double operator()(float x, float first) const { return expf(x - first); }
};
struct SquareAround {
  __device__ double operator()(float x, float first) const { return (x - first) * (x - first); }
};
struct Square {
  __device__ double operator()(float x, float) const { return x * x; }
};
struct Magnitude {
  __device__ double operator()(float x, float) const { return fabsf(x); }
};
struct NotZero {
  __device__ double operator()(float x, float) const { return x != 0 ? 1 : 0; }
};
struct Power {
  float p;
  __device__ double operator()(float x, float) const { return powf(fabsf(x), p); }
};

struct ToFloat {
  __device__ float operator()(double total, int64_t) const { return static_cast<float>(total); }
};
struct Root {
  double p;
  __device__ float operator()(double total, int64_t) const {
    return static_cast<float>(p == 2 ? ::sqrt(total) : ::pow(total, 1 / p));
  }
};
struct Over {
  double free;
  __device__ float operator()(double total, int64_t) const {
    return static_cast<float>(total / free);
  }
};
struct LogPlus {
  const float* first;
  __device__ float operator()(double total, int64_t at) const {
    return static_cast<float>(::log(total) + first[at]);
  }
};
struct FiniteOrZero {
  __device__ float operator()(float x) const { return x - x == 0 ? x : 0; }
};

template <Combine how = Combine::add, class F, class Finish>
void floats(CudaDevice& device, const FoldArgs& args, F f, Finish finish,
            const float* first = nullptr) {
  combine<how, double>(device, args, first, f, static_cast<float*>(nullptr), finish);
}

void norms(CudaDevice& device, const FoldArgs& args) {
  const double p = args.p;
  if (p == 2) return floats(device, args, Square{}, Root{2});
  if (p == 1) return floats(device, args, Magnitude{}, ToFloat{});
  if (p == 0) return floats(device, args, NotZero{}, ToFloat{});
  if (p == INFINITY) return floats<Combine::most>(device, args, Magnitude{}, ToFloat{});
  if (p == -INFINITY) return floats<Combine::least>(device, args, Magnitude{}, ToFloat{});
  floats(device, args, Power{static_cast<float>(p)}, Root{p});
}

}  // namespace

void fold(const FoldArgs& args, Context& context) {
  CudaDevice& device = device_of(context);
  const int64_t outer = args.outer, n = args.n, inner = args.inner;
  if (outer * inner == 0) return;
  switch (args.kind) {
    case FoldKind::product:
      if (args.integer) {
        return combine<Combine::multiply, uint32_t>(
            device, args, nullptr, Itself{}, static_cast<uint32_t*>(nullptr), Keep<uint32_t>{});
      }
      return floats<Combine::multiply>(device, args, Itself{}, ToFloat{});
    case FoldKind::norm:
      return norms(device, args);
    case FoldKind::variance: {
      DeviceScratch mean(device, outer * inner);
      sum({false, mean.data(), args.in, outer, n, inner, 1 / static_cast<float>(n)}, context);
      const double free = std::max(0.0, static_cast<double>(n) - args.p);
      return floats(device, args, SquareAround{}, Over{free}, mean.data());
    }
    case FoldKind::logsumexp: {
      DeviceScratch most(device, outer * inner);
      if (n > 0) {
        max({false, false, most.data(), nullptr, args.in, outer, n, inner}, context);
        map(device, outer * inner, FiniteOrZero{}, most.data(), most.data());
      } else {
        fill({most.data(), outer * inner, 0}, context);
      }
      return floats(device, args, Exponential{}, LogPlus{most.data()}, most.data());
    }
  }
}

}  // namespace fused_rnn::cuda
