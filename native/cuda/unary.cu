// Functions of one element and their derivatives.
#include "cells/math.h"
#include "cuda/elements.h"
#include "cuda/ops.h"

namespace fused_rnn::cuda {
namespace {

// In these forms NaN stays NaN.
template <class T>
__host__ __device__ T clamp_(T x, T low, T high) {
  x = x < low ? low : x;
  return x > high ? high : x;
}

int32_t to_int(double x) { return static_cast<int32_t>(clamp_(x, -2147483648.0, 2147483647.0)); }

// p and q as the functions want them.
template <class T>
struct Options {
  T p, q;
};

// The functions: f(x, options).
struct Neg {
  __device__ float operator()(float x, Options<float>) const { return -x; }
  // unsigned numbers wrap around
  __device__ uint32_t operator()(uint32_t x, Options<uint32_t>) const { return 0 - x; }
};
struct Exp {
  __device__ float operator()(float x, Options<float>) const { return exp_(x); }
};
struct Log {
  __device__ float operator()(float x, Options<float>) const { return log_(x); }
};
struct Sqrt {
  __device__ float operator()(float x, Options<float>) const { return sqrtf(x); }
};
struct Abs {
  __device__ float operator()(float x, Options<float>) const { return fabsf(x); }
  __device__ int32_t operator()(int32_t x, Options<int32_t>) const {
    const auto u = static_cast<uint32_t>(x);
    return static_cast<int32_t>(x < 0 ? 0 - u : u);
  }
};
struct Square {
  __device__ float operator()(float x, Options<float>) const { return x * x; }
};
struct Pow {
  __device__ float operator()(float x, Options<float> o) const { return powf(x, o.p); }
};
struct Clamp {
  template <class T>
  __device__ T operator()(T x, Options<T> o) const {
    return clamp_(x, o.p, o.q);
  }
};
struct Tanh {
  __device__ float operator()(float x, Options<float>) const { return tanh_(x); }
};
struct Sigmoid {
  __device__ float operator()(float x, Options<float>) const { return sigmoid_(x); }
};
struct Relu {
  template <class T>
  __device__ T operator()(T x, Options<T>) const {
    return x < 0 ? 0 : x;
  }
};

// Their derivatives: f(dy, saved, options).
struct NegBackward {
  __device__ float operator()(float dy, float, Options<float>) const { return -dy; }
};
struct ExpBackward {
  __device__ float operator()(float dy, float y, Options<float>) const { return dy * y; }
};
struct LogBackward {
  __device__ float operator()(float dy, float x, Options<float>) const { return dy / x; }
};
struct SqrtBackward {
  __device__ float operator()(float dy, float y, Options<float>) const { return dy * (0.5f / y); }
};
struct AbsBackward {
  __device__ float operator()(float dy, float x, Options<float>) const {
    return x > 0 ? dy : x < 0 ? -dy : 0;
  }
};
struct NoneBackward {
  __device__ float operator()(float, float, Options<float>) const { return 0; }
};
struct SquareBackward {
  __device__ float operator()(float dy, float x, Options<float>) const { return dy * (2 * x); }
};
struct PowBackward {
  __device__ float operator()(float dy, float x, Options<float> o) const {
    return dy * (o.p * powf(x, o.p - 1));
  }
};
struct ClampBackward {
  __device__ float operator()(float dy, float x, Options<float> o) const {
    return x >= o.p && x <= o.q ? dy : 0;
  }
};
struct TanhBackward {
  __device__ float operator()(float dy, float y, Options<float>) const { return dy * (1 - y * y); }
};
struct SigmoidBackward {
  __device__ float operator()(float dy, float y, Options<float>) const {
    return dy * (y * (1 - y));
  }
};
struct ReluBackward {
  // A NaN lets the gradient through, so that it is not hidden.
  __device__ float operator()(float dy, float y, Options<float>) const { return y <= 0 ? 0 : dy; }
};

template <class T, class F>
struct WithOptions {
  Options<T> options;
  __device__ T operator()(T x) const { return F{}(x, options); }
  __device__ T operator()(T dy, T saved) const { return F{}(dy, saved, options); }
};

template <class T, class F>
void apply(const UnaryArgs& args, Context& context, Options<T> options, F) {
  map(device_of(context), args.n, WithOptions<T, F>{options}, static_cast<T*>(args.out),
      static_cast<const T*>(args.in));
}

template <class F>
void apply_backward(const UnaryBackwardArgs& args, Context& context, F) {
  const Options<float> options{static_cast<float>(args.p), static_cast<float>(args.q)};
  map(device_of(context), args.n, WithOptions<float, F>{options}, args.dx, args.dy, args.saved);
}

void unary_integer(const UnaryArgs& args, Context& context) {
  const Options<int32_t> options{to_int(args.p), to_int(args.q)};
  switch (args.op) {
    case UnaryOp::neg:
      return apply(args, context, Options<uint32_t>{}, Neg{});
    case UnaryOp::abs:
      return apply(args, context, options, Abs{});
    case UnaryOp::relu:
      return apply(args, context, options, Relu{});
    case UnaryOp::clamp:
      return apply(args, context, options, Clamp{});
    default:
      return;  // the other operations have no integers
  }
}

}  // namespace

void unary(const UnaryArgs& args, Context& context) {
  if (args.integer) return unary_integer(args, context);
  const Options<float> options{static_cast<float>(args.p), static_cast<float>(args.q)};
  switch (args.op) {
    case UnaryOp::neg:
      return apply(args, context, options, Neg{});
    case UnaryOp::exp:
      return apply(args, context, options, Exp{});
    case UnaryOp::log:
      return apply(args, context, options, Log{});
    case UnaryOp::sqrt:
      return apply(args, context, options, Sqrt{});
    case UnaryOp::abs:
      return apply(args, context, options, Abs{});
    case UnaryOp::pow:
      if (options.p == 2) return apply(args, context, options, Square{});
      return apply(args, context, options, Pow{});
    case UnaryOp::clamp:
      return apply(args, context, options, Clamp{});
    case UnaryOp::tanh:
      return apply(args, context, options, Tanh{});
    case UnaryOp::sigmoid:
      return apply(args, context, options, Sigmoid{});
    case UnaryOp::relu:
      return apply(args, context, options, Relu{});
  }
}

void unary_backward(const UnaryBackwardArgs& args, Context& context) {
  const auto p = static_cast<float>(args.p);
  switch (args.op) {
    case UnaryOp::neg:
      return apply_backward(args, context, NegBackward{});
    case UnaryOp::exp:
      return apply_backward(args, context, ExpBackward{});
    case UnaryOp::log:
      return apply_backward(args, context, LogBackward{});
    case UnaryOp::sqrt:
      return apply_backward(args, context, SqrtBackward{});
    case UnaryOp::abs:
      return apply_backward(args, context, AbsBackward{});
    case UnaryOp::pow:
      if (p == 0) return apply_backward(args, context, NoneBackward{});
      if (p == 2) return apply_backward(args, context, SquareBackward{});
      return apply_backward(args, context, PowBackward{});
    case UnaryOp::clamp:
      return apply_backward(args, context, ClampBackward{});
    case UnaryOp::tanh:
      return apply_backward(args, context, TanhBackward{});
    case UnaryOp::sigmoid:
      return apply_backward(args, context, SigmoidBackward{});
    case UnaryOp::relu:
      return apply_backward(args, context, ReluBackward{});
  }
}

}  // namespace fused_rnn::cuda
