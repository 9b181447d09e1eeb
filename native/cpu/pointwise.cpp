// Elementwise operations with broadcasting.
#include "cpu/isa.h"

FUSED_RNN_KERNELS_BEGIN

void fill(const FillArgs& args, Context& context) {
  context.pool.parallel_for(args.n, 1 << 15, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) args.out[i] = args.value;
  });
}

void copy(const CopyArgs& args, Context& context) {
  context.pool.parallel_for(args.n, 1 << 16, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) args.out[i] = args.in[i];
  });
}

void add_into(const AddIntoArgs& args, Context& context) {
  context.pool.parallel_for(args.n, 1 << 15, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) args.dst[i] += args.src[i];
  });
}

namespace {

struct Add {
  float operator()(float a, float b) const { return a + b; }
};
struct Sub {
  float operator()(float a, float b) const { return a - b; }
};
struct Mul {
  float operator()(float a, float b) const { return a * b; }
};
struct Div {
  float operator()(float a, float b) const { return a / b; }
};

// One innermost row: strides are 0 or 1 after the shapes were collapsed, or anything else.
template <class F>
void row(float* out, const float* a, const float* b, int64_t n, int64_t sa, int64_t sb, F f) {
  if (sa == 1 && sb == 1) {
    for (int64_t i = 0; i < n; ++i) out[i] = f(a[i], b[i]);
  } else if (sa == 1 && sb == 0) {
    const float value = *b;
    for (int64_t i = 0; i < n; ++i) out[i] = f(a[i], value);
  } else if (sa == 0 && sb == 1) {
    const float value = *a;
    for (int64_t i = 0; i < n; ++i) out[i] = f(value, b[i]);
  } else {
    for (int64_t i = 0; i < n; ++i) out[i] = f(a[i * sa], b[i * sb]);
  }
}

template <class F>
void broadcast(const BinaryArgs& args, Context& context, F f) {
  const int last = args.dims - 1;
  const int64_t width = args.dims == 0 ? 1 : args.shape[last];
  int64_t rows = 1;
  for (int d = 0; d < last; ++d) rows *= args.shape[d];
  const int64_t sa = args.dims == 0 ? 0 : args.a_strides[last];
  const int64_t sb = args.dims == 0 ? 0 : args.b_strides[last];
  if (width == 0) return;
  auto part = [&](int64_t begin, int64_t end, int64_t from, int64_t to) {
    for (int64_t r = begin; r < end; ++r) {
      int64_t a = 0, b = 0, rest = r;
      for (int d = last - 1; d >= 0; --d) {
        const int64_t index = rest % args.shape[d];
        rest /= args.shape[d];
        a += index * args.a_strides[d];
        b += index * args.b_strides[d];
      }
      row(args.out + r * width + from, args.a + a + from * sa, args.b + b + from * sb, to - from,
          sa, sb, f);
    }
  };
  constexpr int64_t kGrain = 1 << 15;
  if (rows == 1) {
    context.pool.parallel_for(width, kGrain,
                              [&](int64_t begin, int64_t end) { part(0, 1, begin, end); });
  } else {
    context.pool.parallel_for(rows, kGrain / width + 1,
                              [&](int64_t begin, int64_t end) { part(begin, end, 0, width); });
  }
}

}  // namespace

void binary(const BinaryArgs& args, Context& context) {
  switch (args.op) {
    case BinaryOp::add:
      return broadcast(args, context, Add{});
    case BinaryOp::sub:
      return broadcast(args, context, Sub{});
    case BinaryOp::mul:
      return broadcast(args, context, Mul{});
    case BinaryOp::div:
      return broadcast(args, context, Div{});
  }
}

FUSED_RNN_KERNELS_END
