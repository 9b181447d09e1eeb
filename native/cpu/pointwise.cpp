// Elementwise operations with broadcasting.
#include <cstring>

#include "cpu/isa.h"
#include "ops/functions.h"

FUSED_RNN_KERNELS_BEGIN

void fill(const FillArgs& args, Context& context) {
  context.pool.parallel_for(args.n, 1 << 15, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) args.out[i] = args.value;
  });
}

void copy(const CopyArgs& args, Context& context) {
  auto* out = static_cast<char*>(args.out);
  const auto* in = static_cast<const char*>(args.in);
  context.pool.parallel_for(args.bytes, 1 << 18, [&](int64_t begin, int64_t end) {
    std::memmove(out + begin, in + begin, static_cast<size_t>(end - begin));
  });
}

void add_into(const AddIntoArgs& args, Context& context) {
  context.pool.parallel_for(args.n, 1 << 15, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) args.dst[i] += args.src[i];
  });
}

namespace {

int32_t to_integer(float x) {
  constexpr float kLargest = 2147483520.0f;  // the largest float below 2^31
  x = x < -2147483648.0f ? -2147483648.0f : x;
  x = x > kLargest ? kLargest : x;
  return static_cast<int32_t>(x == x ? x : 0.0f);
}

template <class To, class From, class F>
void convert(const CastArgs& args, Context& context, F f) {
  context.pool.parallel_for(args.n, 1 << 15, [&](int64_t begin, int64_t end) {
    // Local, since a byte that is written may, for all the compiler knows, belong to a captured pointer.
    const From* const in = static_cast<const From*>(args.in) + begin;
    To* const out = static_cast<To*>(args.out) + begin;
    for (int64_t i = 0; i < end - begin; ++i) out[i] = f(in[i]);
  });
}

}  // namespace

void cast(const CastArgs& args, Context& context) {
  using Byte = uint8_t;
  const auto same = [](auto x) { return x; };
  const auto truth = [](auto x) { return static_cast<Byte>(x != 0); };
  const auto number = [](Byte x) { return static_cast<int32_t>(x != 0); };
  switch (args.from) {
    case DType::float32:
      if (args.to == DType::int32) return convert<int32_t, float>(args, context, to_integer);
      return convert<Byte, float>(args, context, truth);
    case DType::int32:
      if (args.to == DType::float32) return convert<float, int32_t>(args, context, same);
      return convert<Byte, int32_t>(args, context, truth);
    case DType::boolean:
      if (args.to == DType::float32) return convert<float, Byte>(args, context, number);
      return convert<int32_t, Byte>(args, context, number);
  }
}

namespace {

// One innermost row: strides are 0 or 1 after broadcasting, or anything else.
template <class Out, class T, class F>
void row(Out* out, const T* a, const T* b, int64_t n, int64_t sa, int64_t sb, F f) {
  if (sa == 1 && sb == 1) {
    for (int64_t i = 0; i < n; ++i) out[i] = f(a[i], b[i]);
  } else if (sa == 1 && sb == 0) {
    const T value = *b;
    for (int64_t i = 0; i < n; ++i) out[i] = f(a[i], value);
  } else if (sa == 0 && sb == 1) {
    const T value = *a;
    for (int64_t i = 0; i < n; ++i) out[i] = f(value, b[i]);
  } else {
    for (int64_t i = 0; i < n; ++i) out[i] = f(a[i * sa], b[i * sb]);
  }
}

template <class Out, class T, class F>
void broadcast(const BinaryArgs& args, Context& context, F f) {
  const int last = args.dims - 1;
  const int64_t width = args.dims == 0 ? 1 : args.shape[last];
  int64_t rows = 1;
  for (int d = 0; d < last; ++d) rows *= args.shape[d];
  const int64_t sa = args.dims == 0 ? 0 : args.a_strides[last];
  const int64_t sb = args.dims == 0 ? 0 : args.b_strides[last];
  const auto* second = static_cast<const T*>(args.b != nullptr ? args.b : &args.number);
  if (width == 0) return;
  // Elements [from, to) of the rows [begin, end), counted through all dimensions but the last.
  auto part = [&](int64_t begin, int64_t end, int64_t from, int64_t to) {
    int64_t index[kMaxDims] = {}, a = from * sa, b = from * sb, rest = begin;
    for (int d = last - 1; d >= 0; --d) {
      index[d] = rest % args.shape[d];
      rest /= args.shape[d];
      a += index[d] * args.a_strides[d];
      b += index[d] * args.b_strides[d];
    }
    for (int64_t r = begin; r < end; ++r) {
      row(static_cast<Out*>(args.out) + r * width + from, static_cast<const T*>(args.a) + a,
          second + b, to - from, sa, sb, f);
      for (int d = last - 1; d >= 0; --d) {
        a += args.a_strides[d];
        b += args.b_strides[d];
        if (++index[d] < args.shape[d]) break;
        a -= args.shape[d] * args.a_strides[d];
        b -= args.shape[d] * args.b_strides[d];
        index[d] = 0;
      }
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

void binary_integer(const BinaryArgs& args, Context& context) {
  using U = uint32_t;  // unsigned numbers wrap around
  using I = int32_t;
  // What x86 cannot divide: by 0, and the least number by -1.
  const auto rest = [](I a, I b) { return b == 0 || b == -1 ? 0 : a % b; };
  switch (args.op) {
    case BinaryOp::add:
      return broadcast<U, U>(args, context, [](U a, U b) { return a + b; });
    case BinaryOp::sub:
      return broadcast<U, U>(args, context, [](U a, U b) { return a - b; });
    case BinaryOp::mul:
      return broadcast<U, U>(args, context, [](U a, U b) { return a * b; });
    case BinaryOp::maximum:
      return broadcast<I, I>(args, context, [](I a, I b) { return a > b ? a : b; });
    case BinaryOp::minimum:
      return broadcast<I, I>(args, context, [](I a, I b) { return a < b ? a : b; });
    case BinaryOp::fmod:
      return broadcast<I, I>(args, context, rest);
    case BinaryOp::remainder:
      return broadcast<I, I>(args, context, [=](I a, I b) {
        const I left = rest(a, b);
        return left != 0 && (left < 0) != (b < 0) ? left + b : left;
      });
    default:
      return;  // the others have no integers
  }
}

void binary_boolean(const BinaryArgs& args, Context& context) {
  using B = uint8_t;
  if (args.op == BinaryOp::maximum) {
    return broadcast<B, B>(args, context, [](B a, B b) -> B { return a > b ? a : b; });
  }
  if (args.op == BinaryOp::minimum) {
    return broadcast<B, B>(args, context, [](B a, B b) -> B { return a < b ? a : b; });
  }
}

void binary_float(const BinaryArgs& args, Context& context) {
  switch (args.op) {
#define BINARY(name, value) \
  case BinaryOp::name:      \
    return broadcast<float, float>(args, context, [](float a, float b) -> float { return value; });
#include "ops/functions.def"
    default:
      return;
  }
}

template <class T>
void relation(const BinaryArgs& args, Context& context) {
  switch (args.op) {
#define RELATION(name, value) \
  case BinaryOp::name:        \
    return broadcast<uint8_t, T>(args, context, [](T a, T b) -> uint8_t { return value; });
#include "ops/functions.def"
    default:
      return;
  }
}

}  // namespace

void binary(const BinaryArgs& args, Context& context) {
  const bool relates = args.op >= kFirstRelation;
  switch (args.type) {
    case DType::float32:
      return relates ? relation<float>(args, context) : binary_float(args, context);
    case DType::int32:
      return relates ? relation<int32_t>(args, context) : binary_integer(args, context);
    case DType::boolean:
      return relates ? relation<uint8_t>(args, context) : binary_boolean(args, context);
  }
}

FUSED_RNN_KERNELS_END
