// Elementwise operations with broadcasting.
#include <cstring>

#include "cuda/elements.h"
#include "cuda/ops.h"
#include "ops/functions.h"

namespace fused_rnn::cuda {
namespace {

struct Fill {
  float* out;
  float value;
  __device__ void operator()(int64_t i) const { out[i] = value; }
};

template <class T>
struct Same {
  __device__ T operator()(T x) const { return x; }
};

struct Truth {
  template <class T>
  __device__ uint8_t operator()(T x) const {
    return x != 0;
  }
};

// Where the copy has to leave its target alone once there is a fault.
template <class T>
struct CopyUnlessFault {
  T* out;
  const T* in;
  const unsigned* fault;
  __device__ void operator()(int64_t i) const {
    if (*fault == 0) out[i] = in[i];
  }
};

struct ToFloat {
  __device__ float operator()(int32_t x) const { return static_cast<float>(x); }
  __device__ float operator()(uint8_t x) const { return x != 0; }
};

// Towards zero; beyond the range the nearest, NaN gives 0.
struct ToInteger {
  __device__ int32_t operator()(uint8_t x) const { return x != 0; }
  __device__ int32_t operator()(float in) const {
    constexpr float kLargest = 2147483520.0f;  // the largest float below 2^31
    float x = in < -2147483648.0f ? -2147483648.0f : in;
    x = x > kLargest ? kLargest : x;
    return static_cast<int32_t>(x == x ? x : 0.0f);
  }
};

struct AddFloats {
  __device__ float operator()(float a, float b) const { return a + b; }
};

// Of floats; of two of type T, with a boolean result.
template <BinaryOp op>
struct OfFloats;
#define BINARY(name, value)                                               \
  template <>                                                             \
  struct OfFloats<BinaryOp::name> {                                       \
    __device__ float operator()(float a, float b) const { return value; } \
  };
#include "ops/functions.def"
template <BinaryOp op>
struct Relation;
#define RELATION(name, value)                       \
  template <>                                       \
  struct Relation<BinaryOp::name> {                 \
    template <class T>                              \
    __device__ uint8_t operator()(T a, T b) const { \
      return value;                                 \
    }                                               \
  };
#include "ops/functions.def"

// Of integers: unsigned numbers wrap around.
struct AddIntegers {
  __device__ uint32_t operator()(uint32_t a, uint32_t b) const { return a + b; }
};
struct SubIntegers {
  __device__ uint32_t operator()(uint32_t a, uint32_t b) const { return a - b; }
};
struct MulIntegers {
  __device__ uint32_t operator()(uint32_t a, uint32_t b) const { return a * b; }
};
// As the CPU's, which cannot divide by 0 and overflows at -1.
__device__ inline int32_t rest_of(int32_t a, int32_t b) { return b == 0 || b == -1 ? 0 : a % b; }
struct FmodIntegers {
  __device__ int32_t operator()(int32_t a, int32_t b) const { return rest_of(a, b); }
};
struct RemainderIntegers {
  __device__ int32_t operator()(int32_t a, int32_t b) const {
    const int32_t left = rest_of(a, b);
    return left != 0 && (left < 0) != (b < 0) ? left + b : left;
  }
};
struct Larger {
  template <class T>
  __device__ T operator()(T a, T b) const {
    return a > b ? a : b;
  }
};
struct Smaller {
  template <class T>
  __device__ T operator()(T a, T b) const {
    return a < b ? a : b;
  }
};

// One side is a single number.
template <class T, class F>
struct WithLeft {
  F f;
  const T* a;
  __device__ auto operator()(T b) const { return f(*a, b); }
};
template <class T, class F>
struct WithRight {
  F f;
  const T* b;
  __device__ auto operator()(T a) const { return f(a, *b); }
};

// One side is a number that the host knows. `a` is contiguous.
template <class T, class F>
struct WithNumber {
  F f;
  T b;
  __device__ auto operator()(T a) const { return f(a, b); }
};

template <class T>
T bits_as(uint32_t bits) {
  T value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

int64_t elements_of(const BinaryArgs& args) {
  int64_t n = 1;
  for (int d = 0; d < args.dims; ++d) n *= args.shape[d];
  return n;
}

// The shape without dimensions of size one, with neighbours that one stride each can walk made one.
struct Walk {
  int32_t dims;
  bool small;  // all numbers of elements fit 32 bits
  int64_t n;
  int64_t shape[kMaxDims], a[kMaxDims], b[kMaxDims];
};

Walk collapse(const BinaryArgs& args) {
  Walk walk{};
  walk.n = 1;
  for (int d = 0; d < args.dims; ++d) {
    const int64_t size = args.shape[d], a = args.a_strides[d], b = args.b_strides[d];
    walk.n *= size;
    if (size == 1) continue;
    const int last = walk.dims - 1;
    if (last >= 0 && walk.a[last] == a * size && walk.b[last] == b * size) {
      walk.shape[last] *= size;
      walk.a[last] = a;
      walk.b[last] = b;
    } else {
      walk.shape[walk.dims] = size;
      walk.a[walk.dims] = a;
      walk.b[walk.dims] = b;
      walk.dims += 1;
    }
  }
  walk.small = small_numbers(walk.n);
  return walk;
}

template <class Out, class T, class F>
struct Broadcast {
  F f;
  Walk walk;
  Out* out;
  const T* a;
  const T* b;
  __device__ void operator()(int64_t i) const {
    int64_t rest = i, in_a = 0, in_b = 0;
#pragma unroll
    for (int d = kMaxDims - 1; d >= 0; --d) {
      if (d >= walk.dims) continue;
      const Divided by = divide(rest, walk.shape[d], walk.small);
      rest = by.quotient;
      in_a += by.rest * walk.a[d];
      in_b += by.rest * walk.b[d];
    }
    out[i] = f(a[in_a], b[in_b]);
  }
};

template <class Out, class T, class F>
void broadcast(const BinaryArgs& args, Context& context, F f) {
  CudaDevice& device = device_of(context);
  if (args.b == nullptr) {
    const auto number = bits_as<T>(args.number);
    return map(device, elements_of(args), WithNumber<T, F>{f, number}, static_cast<Out*>(args.out),
               static_cast<const T*>(args.a));
  }
  const Walk walk = collapse(args);
  Out* out = static_cast<Out*>(args.out);
  const T *a = static_cast<const T*>(args.a), *b = static_cast<const T*>(args.b);
  if (walk.dims == 0) return map(device, walk.n, f, out, a, b);  // one element, or none
  if (walk.dims == 1 && walk.a[0] == 1 && walk.b[0] == 1) return map(device, walk.n, f, out, a, b);
  if (walk.dims == 1 && walk.a[0] == 1 && walk.b[0] == 0) {
    return map(device, walk.n, WithRight<T, F>{f, b}, out, a);
  }
  if (walk.dims == 1 && walk.a[0] == 0 && walk.b[0] == 1) {
    return map(device, walk.n, WithLeft<T, F>{f, a}, out, b);
  }
  each(device, walk.n, Broadcast<Out, T, F>{f, walk, out, a, b});
}

void binary_integer(const BinaryArgs& args, Context& context) {
  using U = uint32_t;
  using I = int32_t;
  switch (args.op) {
    case BinaryOp::add:
      return broadcast<U, U>(args, context, AddIntegers{});
    case BinaryOp::sub:
      return broadcast<U, U>(args, context, SubIntegers{});
    case BinaryOp::mul:
      return broadcast<U, U>(args, context, MulIntegers{});
    case BinaryOp::maximum:
      return broadcast<I, I>(args, context, Larger{});
    case BinaryOp::minimum:
      return broadcast<I, I>(args, context, Smaller{});
    case BinaryOp::fmod:
      return broadcast<I, I>(args, context, FmodIntegers{});
    case BinaryOp::remainder:
      return broadcast<I, I>(args, context, RemainderIntegers{});
    default:
      return;  // the others have no integers
  }
}

void binary_boolean(const BinaryArgs& args, Context& context) {
  using B = uint8_t;
  if (args.op == BinaryOp::maximum) return broadcast<B, B>(args, context, Larger{});
  if (args.op == BinaryOp::minimum) return broadcast<B, B>(args, context, Smaller{});
}

void binary_float(const BinaryArgs& args, Context& context) {
  switch (args.op) {
#define BINARY(name, value) \
  case BinaryOp::name:      \
    return broadcast<float, float>(args, context, OfFloats<BinaryOp::name>{});
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
    return broadcast<uint8_t, T>(args, context, Relation<BinaryOp::name>{});
#include "ops/functions.def"
    default:
      return;
  }
}

}  // namespace

void fill(const FillArgs& args, Context& context) {
  each(device_of(context), args.n, Fill{args.out, args.value});
}

namespace {

template <class T>
void copy_as(const CopyArgs& args, CudaDevice& device) {
  const int64_t n = args.bytes / static_cast<int64_t>(sizeof(T));
  auto* out = static_cast<T*>(args.out);
  const auto* in = static_cast<const T*>(args.in);
  if (!args.keep_on_fault) return map(device, n, Same<T>{}, out, in);
  each(device, n, CopyUnlessFault<T>{out, in, device.fault_flag()});
}

template <class To, class From, class F>
void convert(const CastArgs& args, CudaDevice& device, F f) {
  map(device, args.n, f, static_cast<To*>(args.out), static_cast<const From*>(args.in));
}

}  // namespace

void copy(const CopyArgs& args, Context& context) {
  const auto places = reinterpret_cast<uintptr_t>(args.out) | reinterpret_cast<uintptr_t>(args.in);
  if ((places | static_cast<uintptr_t>(args.bytes)) % 4 == 0) {
    return copy_as<uint32_t>(args, device_of(context));
  }
  copy_as<uint8_t>(args, device_of(context));
}

void add_into(const AddIntoArgs& args, Context& context) {
  map(device_of(context), args.n, AddFloats{}, args.dst, static_cast<const float*>(args.dst),
      args.src);
}

void cast(const CastArgs& args, Context& context) {
  CudaDevice& device = device_of(context);
  switch (args.from) {
    case DType::float32:
      if (args.to == DType::int32) return convert<int32_t, float>(args, device, ToInteger{});
      return convert<uint8_t, float>(args, device, Truth{});
    case DType::int32:
      if (args.to == DType::float32) return convert<float, int32_t>(args, device, ToFloat{});
      return convert<uint8_t, int32_t>(args, device, Truth{});
    case DType::boolean:
      if (args.to == DType::float32) return convert<float, uint8_t>(args, device, ToFloat{});
      return convert<int32_t, uint8_t>(args, device, ToInteger{});
  }
}

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

}  // namespace fused_rnn::cuda
