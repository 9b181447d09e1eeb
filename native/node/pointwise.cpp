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

// binary(op, a, b, shape, aStrides, bStrides) → buffer of shape; a and b of one type
Napi::Value binary(Addon& addon, Args& args) {
  BinaryArgs call{};
  call.op = static_cast<BinaryOp>(args.size());
  Buffer a = args.buffer();
  Buffer b = args.buffer();
  const auto shape = args.integers();
  const auto a_strides = args.integers();
  const auto b_strides = args.integers();
  args.expect_reach(a, shape, a_strides);
  args.expect_reach(b, shape, b_strides);
  args.expect(b, b.length, a.dtype);
  args.expect_number(a);
  call.integer = a.dtype == DType::int32;
  call.dims = static_cast<int32_t>(shape.size());
  int64_t n = 1;
  for (size_t d = 0; d < shape.size(); ++d) {
    call.shape[d] = shape[d];
    call.a_strides[d] = a_strides[d];
    call.b_strides[d] = b_strides[d];
    n *= shape[d];
  }
  Buffer out = a.beside(n, a.dtype);
  addon.enqueue(pure("binary"), cost::elements(n), {a, b}, {out},
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
  call.op = static_cast<BinaryOp>(args.size());
  Buffer a = args.buffer();
  const double value = args.number();
  args.expect_number(a);
  call.integer = a.dtype == DType::int32;
  call.dims = 1;
  call.shape[0] = a.length;
  call.a_strides[0] = 1;
  Buffer out = a.beside(a.length, a.dtype);
  call.number = call.integer ? static_cast<uint32_t>(static_cast<int64_t>(value))
                             : std::bit_cast<uint32_t>(static_cast<float>(value));
  addon.enqueue(pure("binary"), cost::elements(a.length), {a}, {out},
                [=](const Backend& backend, Context& context) mutable {
                  call.out = out.raw();
                  call.a = a.raw();
                  backend.binary(call, context);
                });
  return addon.wrap(out);
}

int64_t cost_of(UnaryOp op, int64_t n) {
  return op == UnaryOp::pow ? cost::double_functions(n) : cost::functions(n);
}

// unary(op, x, p, q) → buffer like x
Napi::Value unary(Addon& addon, Args& args) {
  const auto op = static_cast<UnaryOp>(args.size());
  Buffer x = args.buffer();
  const double p = args.number(), q = args.number();
  args.expect_number(x);
  const bool integer = x.dtype == DType::int32;
  Buffer out = x.beside(x.length, x.dtype);
  addon.enqueue(pure("unary"), cost_of(op, x.length), {x}, {out},
                [=](const Backend& backend, Context& context) {
                  backend.unary({op, integer, out.raw(), x.raw(), x.length, p, q}, context);
                });
  return addon.wrap(out);
}

// unaryBackward(op, dy, saved, p, q) → dx
Napi::Value unary_backward(Addon& addon, Args& args) {
  const auto op = static_cast<UnaryOp>(args.size());
  Buffer dy = args.buffer();
  Buffer saved = args.buffer();
  const double p = args.number(), q = args.number();
  args.expect(dy, dy.length);
  args.expect(saved, dy.length);
  Buffer dx = dy.beside(dy.length);
  addon.enqueue("unary backward", cost_of(op, dy.length), {dy, saved}, {dx},
                [=](const Backend& backend, Context& context) {
                  backend.unary_backward({op, dx.f32(), dy.f32(), saved.f32(), dy.length, p, q},
                                         context);
                });
  return addon.wrap(dx);
}

}  // namespace

void register_pointwise(Napi::Env env, Napi::Object exports, Addon* addon) {
  add_entry<fill>(env, exports, "fill", addon);
  add_entry<add_into>(env, exports, "addInto", addon);
  add_entry<cast>(env, exports, "cast", addon);
  add_entry<binary>(env, exports, "binary", addon);
  add_entry<binary_number>(env, exports, "binaryNumber", addon);
  add_entry<unary>(env, exports, "unary", addon);
  add_entry<unary_backward>(env, exports, "unaryBackward", addon);
}

}  // namespace fused_rnn::node
