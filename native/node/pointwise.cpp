// Elementwise operations.
#include <algorithm>
#include <bit>

#include "node/addon.h"

namespace fused_rnn::node {
namespace {

// fill(length, value, device) → float32 buffer
Napi::Value fill(Addon& addon, Args& args) {
  const int64_t n = args.size();
  const auto value = static_cast<float>(args.number());
  Buffer out = Buffer::make(n, DType::float32, addon.executor(args.integer()).device);
  addon.enqueue(pure("fill"), cost::elements(n), {}, {out},
                [=](const Backend& backend, Context& context) {
                  backend.fill({out.f32(), n, value}, context);
                });
  return addon.wrap(out);
}

// addInto(to[], from[])
Napi::Value add_into(Addon& addon, Args& args) {
  const std::vector<Buffer> to = args.buffers();
  const std::vector<Buffer> from = args.buffers();
  if (to.size() != from.size()) {
    throw Napi::TypeError::New(args.env(), "internal: addInto takes two lists of one length");
  }
  for (size_t i = 0; i < to.size(); ++i) {
    args.expect(to[i], to[i].length);
    args.expect(from[i], to[i].length);
  }
  int64_t n = 0;
  for (const Buffer& buffer : to) n += buffer.length;
  addon.enqueue("addInto", cost::elements(n), from, to,
                [=](const Backend& backend, Context& context) {
                  for (size_t i = 0; i < to.size(); ++i) {
                    backend.add_into({to[i].f32(), from[i].f32(), to[i].length}, context);
                  }
                });
  return args.env().Undefined();
}

// cast(x, dtype) → buffer of that type, which is another than x's
Napi::Value cast(Addon& addon, Args& args) {
  Buffer x = args.buffer();
  const DType to = args.dtype();
  if (x.dtype == to) throw Napi::TypeError::New(args.env(), "internal: cast to the same type");
  Buffer out = x.beside(x.length, to);
  addon.enqueue(pure("cast"), cost::elements(x.length), {x}, {out},
                [=](const Backend& backend, Context& context) {
                  backend.cast({out.raw(), x.raw(), x.length, x.dtype, to}, context);
                });
  return addon.wrap(out);
}

// A number as an element's bits.
uint32_t bits_of(double value, DType dtype) {
  if (dtype == DType::float32) return std::bit_cast<uint32_t>(static_cast<float>(value));
  if (dtype == DType::boolean) return value != 0;
  return static_cast<uint32_t>(static_cast<int64_t>(value));
}

// Some are computed one element after the other.
int64_t cost_of(BinaryOp op, int64_t n) {
  switch (op) {
    case BinaryOp::fmod:
    case BinaryOp::remainder:
    case BinaryOp::atan2:
    case BinaryOp::pow:
    case BinaryOp::powBase:
    case BinaryOp::powExponent:
      return cost::scalar_functions(n);
    default:
      return cost::elements(n);
  }
}

BinaryOp read_binary_op(Args& args) {
  const int64_t op = args.size();
  if (op > static_cast<int64_t>(BinaryOp::ge))
    throw Napi::RangeError::New(args.env(), "internal: no such operation");
  return static_cast<BinaryOp>(op);
}

// Throws where a kernel would leave the result unwritten. @returns the type of the result
DType binary_type(Args& args, BinaryOp op, DType type) {
  if (op >= kFirstRelation) return DType::boolean;
  const bool extreme = op == BinaryOp::maximum || op == BinaryOp::minimum;
  const bool whole =
      extreme || op <= BinaryOp::mul || op == BinaryOp::fmod || op == BinaryOp::remainder;
  if ((type == DType::int32 && !whole) || (type == DType::boolean && !extreme)) {
    throw Napi::TypeError::New(args.env(), "internal: an operation without this type");
  }
  return type;
}

// binary(op, a, b, shape, aStrides, bStrides) → buffer of shape; a and b of one type
Napi::Value binary(Addon& addon, Args& args) {
  BinaryArgs call{};
  call.op = read_binary_op(args);
  Buffer a = args.buffer();
  Buffer b = args.buffer();
  const auto shape = args.integers();
  const auto a_strides = args.integers();
  const auto b_strides = args.integers();
  args.expect_reach(a, shape, a_strides);
  args.expect_reach(b, shape, b_strides);
  args.expect(b, b.length, a.dtype);
  call.type = a.dtype;
  call.dims = static_cast<int32_t>(shape.size());
  int64_t n = 1;
  for (size_t d = 0; d < shape.size(); ++d) {
    call.shape[d] = shape[d];
    call.a_strides[d] = a_strides[d];
    call.b_strides[d] = b_strides[d];
    n *= shape[d];
  }
  Buffer out = a.beside(n, binary_type(args, call.op, a.dtype));
  addon.enqueue(pure("binary"), cost_of(call.op, n), {a, b}, {out},
                [=](const Backend& backend, Context& context) mutable {
                  call.out = out.raw();
                  call.a = a.raw();
                  call.b = b.raw();
                  backend.binary(call, context);
                });
  return addon.wrap(out);
}

// binaryNumber(op, a, value) → buffer like a
Napi::Value binary_number(Addon& addon, Args& args) {
  BinaryArgs call{};
  call.op = read_binary_op(args);
  Buffer a = args.buffer();
  const double value = args.number();
  call.type = a.dtype;
  call.dims = 1;
  call.shape[0] = a.length;
  call.a_strides[0] = 1;
  Buffer out = a.beside(a.length, binary_type(args, call.op, a.dtype));
  call.number = bits_of(value, a.dtype);
  addon.enqueue(pure("binary"), cost_of(call.op, a.length), {a}, {out},
                [=](const Backend& backend, Context& context) mutable {
                  call.out = out.raw();
                  call.a = a.raw();
                  backend.binary(call, context);
                });
  return addon.wrap(out);
}

// where(condition, a, b, aNumber, bNumber, dtype, shape, cStrides, aStrides, bStrides) → buffer of
// shape; a or b may be null, for a number
Napi::Value where(Addon& addon, Args& args) {
  WhereArgs call{};
  Buffer condition = args.buffer();
  Buffer a = args.optional_buffer();
  Buffer b = args.optional_buffer();
  const double a_number = args.number(), b_number = args.number();
  const DType dtype = args.dtype();
  const auto shape = args.integers();
  const auto c_strides = args.integers();
  const auto a_strides = args.integers();
  const auto b_strides = args.integers();
  args.expect(condition, condition.length, DType::boolean);
  args.expect(a, a.length, dtype);
  args.expect(b, b.length, dtype);
  const std::vector<int64_t> none(shape.size(), 0);
  args.expect_reach(condition, shape, c_strides);
  if (a) args.expect_reach(a, shape, a_strides);
  if (b) args.expect_reach(b, shape, b_strides);
  call.a_number = bits_of(a_number, dtype);
  call.b_number = bits_of(b_number, dtype);
  call.bytes = dtype == DType::boolean;
  call.dims = static_cast<int32_t>(shape.size());
  int64_t n = 1;
  for (size_t d = 0; d < shape.size(); ++d) {
    call.shape[d] = shape[d];
    call.c_strides[d] = c_strides[d];
    call.a_strides[d] = (a ? a_strides : none)[d];
    call.b_strides[d] = (b ? b_strides : none)[d];
    n *= shape[d];
  }
  Buffer out = condition.beside(n, dtype);
  addon.enqueue(pure("where"), cost::elements(n), {condition, a, b}, {out},
                [=](const Backend& backend, Context& context) mutable {
                  call.out = out.raw();
                  call.condition = condition.u8();
                  call.a = a.raw();
                  call.b = b.raw();
                  backend.where(call, context);
                });
  return addon.wrap(out);
}

int64_t cost_of(UnaryOp op, int64_t n) {
  return op == UnaryOp::pow || op >= UnaryOp::sin ? cost::double_functions(n) : cost::functions(n);
}

UnaryOp read_unary_op(Args& args) {
  const int64_t op = args.size();
  if (op > static_cast<int64_t>(UnaryOp::nanToNum))
    throw Napi::RangeError::New(args.env(), "internal: no such operation");
  return static_cast<UnaryOp>(op);
}

// unary(op, x, p, q, r) → buffer like x
Napi::Value unary(Addon& addon, Args& args) {
  const UnaryOp op = read_unary_op(args);
  Buffer x = args.buffer();
  const double p = args.number(), q = args.number(), r = args.number();
  args.expect_number(x);
  const bool integer = x.dtype == DType::int32;
  const bool whole = op == UnaryOp::neg || op == UnaryOp::abs || op == UnaryOp::relu ||
                     op == UnaryOp::clamp || op == UnaryOp::sign || op == UnaryOp::square;
  if (integer && !whole) {
    throw Napi::TypeError::New(args.env(), "internal: a function without integers");
  }
  Buffer out = x.beside(x.length, x.dtype);
  addon.enqueue(pure("unary"), cost_of(op, x.length), {x}, {out},
                [=](const Backend& backend, Context& context) {
                  backend.unary({op, integer, out.raw(), x.raw(), x.length, p, q, r}, context);
                });
  return addon.wrap(out);
}

// unaryBackward(op, dy, saved, p, q) → dx
Napi::Value unary_backward(Addon& addon, Args& args) {
  const UnaryOp op = read_unary_op(args);
  Buffer dy = args.buffer();
  Buffer saved = args.buffer();
  const double p = args.number(), q = args.number();
  args.expect(dy, dy.length);
  args.expect(saved, dy.length);
  Buffer dx = dy.beside(dy.length);
  addon.enqueue("unary backward", cost_of(op, dy.length), {dy, saved}, {dx},
                [=](const Backend& backend, Context& context) {
                  backend.unary_backward({op, dx.f32(), dy.f32(), saved.f32(), dy.length, p, q, 0},
                                         context);
                });
  return addon.wrap(dx);
}

// functions() → [names of UnaryOp, names of BinaryOp], in the order of their numbers
Napi::Value functions(Addon&, Args& args) {
  constexpr const char* kUnary[] = {
#define UNARY(name, value, gradient) #name,
#include "ops/functions.def"
  };
  constexpr const char* kBinary[] = {
#define BINARY(name, value) #name,
#define RELATION(name, value) #name,
#include "ops/functions.def"
  };
  const auto list = [&](const auto& names) {
    auto result = Napi::Array::New(args.env(), std::size(names));
    uint32_t i = 0;
    for (const char* name : names) result.Set(i++, name);
    return result;
  };
  auto both = Napi::Array::New(args.env(), 2);
  both.Set(0U, list(kUnary));
  both.Set(1U, list(kBinary));
  return both;
}

}  // namespace

void register_pointwise(Napi::Env env, Napi::Object exports, Addon* addon) {
  add_entry<fill>(env, exports, "fill", addon);
  add_entry<add_into>(env, exports, "addInto", addon);
  add_entry<cast>(env, exports, "cast", addon);
  add_entry<binary>(env, exports, "binary", addon);
  add_entry<binary_number>(env, exports, "binaryNumber", addon);
  add_entry<where>(env, exports, "where", addon);
  add_entry<functions>(env, exports, "functions", addon);
  add_entry<unary>(env, exports, "unary", addon);
  add_entry<unary_backward>(env, exports, "unaryBackward", addon);
}

}  // namespace fused_rnn::node
