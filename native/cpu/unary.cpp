// Functions of one element and their derivatives.
#include <math.h>

#include "cells/math.h"
#include "cpu/isa.h"

FUSED_RNN_KERNELS_BEGIN

namespace {

template <class T, class F>
void apply(const UnaryArgs& args, Context& context, F f) {
  const T* in = static_cast<const T*>(args.in);
  T* out = static_cast<T*>(args.out);
  context.pool.parallel_for(args.n, 1 << 13, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) out[i] = f(in[i]);
  });
}

template <class F>
void apply_backward(const UnaryBackwardArgs& args, Context& context, F f) {
  context.pool.parallel_for(args.n, 1 << 13, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) args.dx[i] = f(args.dy[i], args.saved[i]);
  });
}

// In these forms NaN stays NaN.
template <class T>
T clamp_(T x, T low, T high) {
  x = x < low ? low : x;
  return x > high ? high : x;
}

int32_t to_int(double x) { return static_cast<int32_t>(clamp_(x, -2147483648.0, 2147483647.0)); }

void unary_integer(const UnaryArgs& args, Context& context) {
  const int32_t low = to_int(args.p), high = to_int(args.q);
  switch (args.op) {
    case UnaryOp::neg:  // unsigned numbers wrap around
      return apply<uint32_t>(args, context, [](uint32_t x) { return 0 - x; });
    case UnaryOp::abs:
      return apply<int32_t>(args, context, [](int32_t x) {
        const auto u = static_cast<uint32_t>(x);
        return static_cast<int32_t>(x < 0 ? 0 - u : u);
      });
    case UnaryOp::relu:
      return apply<int32_t>(args, context, [](int32_t x) { return x < 0 ? 0 : x; });
    case UnaryOp::clamp:
      return apply<int32_t>(args, context, [=](int32_t x) { return clamp_(x, low, high); });
    default:
      return;  // the other operations have no integers
  }
}

}  // namespace

void unary(const UnaryArgs& args, Context& context) {
  if (args.integer) return unary_integer(args, context);
  const auto p = static_cast<float>(args.p), q = static_cast<float>(args.q);
  switch (args.op) {
    case UnaryOp::neg:
      return apply<float>(args, context, [](float x) { return -x; });
    case UnaryOp::exp:
      return apply<float>(args, context, [](float x) { return exp_(x); });
    case UnaryOp::log:
      return apply<float>(args, context, [](float x) { return log_(x); });
    case UnaryOp::sqrt:
      return apply<float>(args, context, [](float x) { return sqrtf(x); });
    case UnaryOp::abs:
      return apply<float>(args, context, [](float x) { return fabsf(x); });
    case UnaryOp::pow:
      if (p == 2) return apply<float>(args, context, [](float x) { return x * x; });
      return apply<float>(args, context, [=](float x) { return powf(x, p); });
    case UnaryOp::clamp:
      return apply<float>(args, context, [=](float x) { return clamp_(x, p, q); });
    case UnaryOp::tanh:
      return apply<float>(args, context, [](float x) { return tanh_(x); });
    case UnaryOp::sigmoid:
      return apply<float>(args, context, [](float x) { return sigmoid_(x); });
    case UnaryOp::relu:
      return apply<float>(args, context, [](float x) { return x < 0 ? 0 : x; });
  }
}

void unary_backward(const UnaryBackwardArgs& args, Context& context) {
  const auto p = static_cast<float>(args.p), q = static_cast<float>(args.q);
  switch (args.op) {
    case UnaryOp::neg:
      return apply_backward(args, context, [](float dy, float) { return -dy; });
    case UnaryOp::exp:
      return apply_backward(args, context, [](float dy, float y) { return dy * y; });
    case UnaryOp::log:
      return apply_backward(args, context, [](float dy, float x) { return dy / x; });
    case UnaryOp::sqrt:
      return apply_backward(args, context, [](float dy, float y) { return dy / (2 * y); });
    case UnaryOp::abs:
      return apply_backward(args, context, [](float dy, float x) {
        return x > 0 ? dy : x < 0 ? -dy : 0;
      });
    case UnaryOp::pow:
      if (p == 0) return apply_backward(args, context, [](float, float) { return 0.0f; });
      if (p == 2) {
        return apply_backward(args, context, [](float dy, float x) { return dy * (2 * x); });
      }
      return apply_backward(args, context,
                            [=](float dy, float x) { return dy * (p * powf(x, p - 1)); });
    case UnaryOp::clamp:
      return apply_backward(args, context,
                            [=](float dy, float x) { return x >= p && x <= q ? dy : 0; });
    case UnaryOp::tanh:
      return apply_backward(args, context, [](float dy, float y) { return dy * (1 - y * y); });
    case UnaryOp::sigmoid:
      return apply_backward(args, context, [](float dy, float y) { return dy * (y * (1 - y)); });
    case UnaryOp::relu:
      // A NaN lets the gradient through, so that it is not hidden.
      return apply_backward(args, context, [](float dy, float y) { return y <= 0 ? 0 : dy; });
  }
}

FUSED_RNN_KERNELS_END
