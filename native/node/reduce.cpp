// Reductions and softmax over the middle dimension of [outer, n, inner].
#include "node/addon.h"

namespace fused_rnn::node {
namespace {

// sum(x, outer, n, inner, scale) → [outer, inner]
Napi::Value sum(Addon& addon, Args& args) {
  Buffer x = args.buffer();
  const int64_t outer = args.size(), n = args.size(), inner = args.size();
  const auto scale = static_cast<float>(args.number());
  const bool integer = x.dtype == DType::int32;
  args.expect(x, outer * n * inner, x.dtype);
  args.expect_number(x);
  Buffer out = x.beside(outer * inner, x.dtype);
  addon.enqueue(pure("sum"), cost::elements(x.length), {x}, {out},
                [=](const Backend& backend, Context& context) {
                  backend.sum({integer, out.raw(), x.raw(), outer, n, inner, scale}, context);
                });
  return addon.wrap(out);
}

// max(x, outer, n, inner, values) → [values or null, int32 indices], each [outer, inner]
Napi::Value max(Addon& addon, Args& args) {
  Buffer x = args.buffer();
  const int64_t outer = args.size(), n = args.size(), inner = args.size();
  const bool values = args.boolean(), integer = x.dtype == DType::int32;
  args.expect(x, outer * n * inner, x.dtype);
  args.expect_number(x);
  if (n == 0 && outer * inner > 0) {
    throw Napi::RangeError::New(args.env(), "internal: the maximum of nothing");
  }
  Buffer value = values ? x.beside(outer * inner, x.dtype) : Buffer{};
  Buffer index = x.beside(outer * inner, DType::int32);
  addon.enqueue(pure("max"), cost::functions(x.length), {x}, {value, index},
                [=](const Backend& backend, Context& context) {
                  backend.max({integer, value.raw(), index.i32(), x.raw(), outer, n, inner},
                              context);
                });
  return addon.wrap_all({value, index});
}

// maxBackward(dy, index, outer, n, inner) → dx
Napi::Value max_backward(Addon& addon, Args& args) {
  Buffer dy = args.buffer();
  Buffer index = args.buffer();
  const int64_t outer = args.size(), n = args.size(), inner = args.size();
  args.expect(dy, outer * inner);
  args.expect(index, outer * inner, DType::int32);
  Buffer dx = dy.beside(outer * n * inner);
  addon.enqueue("max backward", cost::elements(dx.length), {dy, index}, {dx},
                [=](const Backend& backend, Context& context) {
                  backend.max_backward({dx.f32(), dy.f32(), index.i32(), outer, n, inner}, context);
                });
  return addon.wrap(dx);
}

// maxAllBackward(dy, x, value) → dx
Napi::Value max_all_backward(Addon& addon, Args& args) {
  Buffer dy = args.buffer();
  Buffer x = args.buffer();
  Buffer value = args.buffer();
  args.expect(dy, 1);
  args.expect(x, x.length);
  args.expect(value, 1);
  Buffer dx = x.beside(x.length);
  addon.enqueue("max backward", cost::functions(x.length), {dy, x, value}, {dx},
                [=](const Backend& backend, Context& context) {
                  backend.max_all_backward({dx.f32(), dy.f32(), x.f32(), value.f32(), x.length},
                                           context);
                });
  return addon.wrap(dx);
}

// softmax(x, outer, n, inner, log) → y
Napi::Value softmax(Addon& addon, Args& args) {
  Buffer x = args.buffer();
  const int64_t outer = args.size(), n = args.size(), inner = args.size();
  const bool log = args.boolean();
  args.expect(x, outer * n * inner);
  Buffer y = x.beside(x.length);
  addon.enqueue(pure("softmax"), cost::functions(x.length), {x}, {y},
                [=](const Backend& backend, Context& context) {
                  backend.softmax({log, y.f32(), x.f32(), outer, n, inner}, context);
                });
  return addon.wrap(y);
}

// softmaxBackward(dy, y, outer, n, inner, log) → dx
Napi::Value softmax_backward(Addon& addon, Args& args) {
  Buffer dy = args.buffer();
  Buffer y = args.buffer();
  const int64_t outer = args.size(), n = args.size(), inner = args.size();
  const bool log = args.boolean();
  args.expect(dy, outer * n * inner);
  args.expect(y, dy.length);
  Buffer dx = dy.beside(dy.length);
  addon.enqueue("softmax backward", cost::functions(dy.length), {dy, y}, {dx},
                [=](const Backend& backend, Context& context) {
                  backend.softmax_backward({log, dx.f32(), dy.f32(), y.f32(), outer, n, inner},
                                           context);
                });
  return addon.wrap(dx);
}

}  // namespace

void register_reduce(Napi::Env env, Napi::Object exports, Addon* addon) {
  add_entry<sum>(env, exports, "sum", addon);
  add_entry<max>(env, exports, "max", addon);
  add_entry<max_backward>(env, exports, "maxBackward", addon);
  add_entry<max_all_backward>(env, exports, "maxAllBackward", addon);
  add_entry<softmax>(env, exports, "softmax", addon);
  add_entry<softmax_backward>(env, exports, "softmaxBackward", addon);
}

}  // namespace fused_rnn::node
