// Functions of one element and their derivatives.
#include "cuda/elements.h"
#include "cuda/functions.h"
#include "cuda/ops.h"
#include "ops/functions.h"

namespace fused_rnn::cuda {
namespace {

int32_t to_int(double x) { return static_cast<int32_t>(clamp_(x, -2147483648.0, 2147483647.0)); }

// p, q and r as the functions want them.
struct Options {
  float p, q, r;
};

// Value<op>: the function; Gradient<op>: what goes back.
template <UnaryOp op>
struct Value;
template <UnaryOp op>
struct Gradient;

#define UNARY(name, value, gradient)                           \
  template <>                                                  \
  struct Value<UnaryOp::name> {                                \
    Options o;                                                 \
    __device__ float operator()(float x) const {               \
      [[maybe_unused]] const float p = o.p, q = o.q, r = o.r;  \
      return value;                                            \
    }                                                          \
  };                                                           \
  template <>                                                  \
  struct Gradient<UnaryOp::name> {                             \
    Options o;                                                 \
    __device__ float operator()(float dy, float saved) const { \
      [[maybe_unused]] const float p = o.p, q = o.q;           \
      [[maybe_unused]] const float x = saved, y = saved;       \
      return gradient;                                         \
    }                                                          \
  };
#include "ops/functions.def"

struct Square {
  __device__ float operator()(float x) const { return x * x; }
};
struct SquareGradient {
  __device__ float operator()(float dy, float x) const { return dy * (2 * x); }
};

// Of integers; unsigned numbers wrap around.
struct NegInteger {
  __device__ uint32_t operator()(uint32_t x) const { return 0 - x; }
};
struct AbsInteger {
  __device__ int32_t operator()(int32_t x) const {
    const auto u = static_cast<uint32_t>(x);
    return static_cast<int32_t>(x < 0 ? 0 - u : u);
  }
};
struct ReluInteger {
  __device__ int32_t operator()(int32_t x) const { return x < 0 ? 0 : x; }
};
struct ClampInteger {
  int32_t low, high;
  __device__ int32_t operator()(int32_t x) const { return clamp_(x, low, high); }
};
struct SignInteger {
  __device__ int32_t operator()(int32_t x) const { return (x > 0) - (x < 0); }
};
struct SquareInteger {
  __device__ uint32_t operator()(uint32_t x) const { return x * x; }
};

template <class T, class F>
void apply(const UnaryArgs& args, Context& context, F f) {
  map(device_of(context), args.n, f, static_cast<T*>(args.out), static_cast<const T*>(args.in));
}

template <class F>
void apply_backward(const UnaryBackwardArgs& args, Context& context, F f) {
  map(device_of(context), args.n, f, args.dx, args.dy, args.saved);
}

void unary_integer(const UnaryArgs& args, Context& context) {
  switch (args.op) {
    case UnaryOp::neg:
      return apply<uint32_t>(args, context, NegInteger{});
    case UnaryOp::abs:
      return apply<int32_t>(args, context, AbsInteger{});
    case UnaryOp::relu:
      return apply<int32_t>(args, context, ReluInteger{});
    case UnaryOp::clamp:
      return apply<int32_t>(args, context, ClampInteger{to_int(args.p), to_int(args.q)});
    case UnaryOp::sign:
      return apply<int32_t>(args, context, SignInteger{});
    case UnaryOp::square:
      return apply<uint32_t>(args, context, SquareInteger{});
    default:
      return;  // the other operations have no integers
  }
}

}  // namespace

void unary(const UnaryArgs& args, Context& context) {
  if (args.integer) return unary_integer(args, context);
  const Options options{static_cast<float>(args.p), static_cast<float>(args.q),
                        static_cast<float>(args.r)};
  if (args.op == UnaryOp::pow && options.p == 2) return apply<float>(args, context, Square{});
  switch (args.op) {
#define UNARY(name, value, gradient) \
  case UnaryOp::name:                \
    return apply<float>(args, context, Value<UnaryOp::name>{options});
#include "ops/functions.def"
  }
}

void unary_backward(const UnaryBackwardArgs& args, Context& context) {
  const Options options{static_cast<float>(args.p), static_cast<float>(args.q), 0};
  if (args.op == UnaryOp::pow && options.p == 2) {
    return apply_backward(args, context, SquareGradient{});
  }
  switch (args.op) {
#define UNARY(name, value, gradient) \
  case UnaryOp::name:                \
    return apply_backward(args, context, Gradient<UnaryOp::name>{options});
#include "ops/functions.def"
  }
}

}  // namespace fused_rnn::cuda
