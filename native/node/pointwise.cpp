// Elementwise operations.
#include <algorithm>

#include "node/addon.h"

namespace fused_rnn::node {
namespace {

// fill(length, value) → float32 buffer
Napi::Value fill(Addon& addon, Args& args) {
  const int64_t n = args.size();
  const auto value = static_cast<float>(args.number());
  Buffer out = Buffer::make(n);
  addon.enqueue("fill", {}, {out}, [=](const Backend& backend, Context& context) {
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
  addon.enqueue("addInto", from, to, [=](const Backend& backend, Context& context) {
    for (size_t i = 0; i < to.size(); ++i) {
      backend.add_into({to[i].f32(), from[i].f32(), to[i].length}, context);
    }
  });
  return args.env().Undefined();
}

// binary(op, a, b, shape, aStrides, bStrides) → buffer of shape
Napi::Value binary(Addon& addon, Args& args) {
  BinaryArgs call{};
  call.op = static_cast<BinaryOp>(args.size());
  Buffer a = args.buffer();
  Buffer b = args.buffer();
  const auto shape = args.integers();
  const auto a_strides = args.integers();
  const auto b_strides = args.integers();
  call.dims = static_cast<int32_t>(shape.size());
  int64_t n = 1;
  for (size_t d = 0; d < shape.size(); ++d) {
    call.shape[d] = shape[d];
    call.a_strides[d] = a_strides[d];
    call.b_strides[d] = b_strides[d];
    n *= shape[d];
  }
  Buffer out = Buffer::make(n);
  addon.enqueue("binary", {a, b}, {out}, [=](const Backend& backend, Context& context) mutable {
    call.out = out.f32();
    call.a = a.f32();
    call.b = b.f32();
    backend.binary(call, context);
  });
  return addon.wrap(out);
}

}  // namespace

void register_pointwise(Napi::Env env, Napi::Object exports, Addon* addon) {
  add_entry<fill>(env, exports, "fill", addon);
  add_entry<add_into>(env, exports, "addInto", addon);
  add_entry<binary>(env, exports, "binary", addon);
}

}  // namespace fused_rnn::node
