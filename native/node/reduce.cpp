// Reductions, running sums and softmax over the middle dimension of [outer, n, inner].
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

// max(x, outer, n, inner, smallest, values, indices) → [values or null, int32 indices or null],
// each [outer, inner]
Napi::Value max(Addon& addon, Args& args) {
  Buffer x = args.buffer();
  const int64_t outer = args.size(), n = args.size(), inner = args.size();
  const bool smallest = args.boolean(), values = args.boolean(), indices = args.boolean();
  const bool integer = x.dtype == DType::int32;
  args.expect(x, outer * n * inner, x.dtype);
  args.expect_number(x);
  if (n == 0 && outer * inner > 0) {
    throw Napi::RangeError::New(args.env(), "internal: the maximum of nothing");
  }
  Buffer value = values ? x.beside(outer * inner, x.dtype) : Buffer{};
  Buffer index = indices ? x.beside(outer * inner, DType::int32) : Buffer{};
  const int64_t cost = indices ? cost::functions(x.length) : cost::elements(x.length);
  addon.enqueue(pure(smallest ? "min" : "max"), cost, {x}, {value, index},
                [=](const Backend& backend, Context& context) {
                  backend.max({integer, smallest, value.raw(), index ? index.i32() : nullptr,
                               x.raw(), outer, n, inner},
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

// extremeBackward(dy, x, value, outer, n, inner) → dx
Napi::Value extreme_backward(Addon& addon, Args& args) {
  Buffer dy = args.buffer();
  Buffer x = args.buffer();
  Buffer value = args.buffer();
  const int64_t outer = args.size(), n = args.size(), inner = args.size();
  args.expect(dy, outer * inner);
  args.expect(x, outer * n * inner);
  args.expect(value, outer * inner);
  Buffer dx = x.beside(x.length);
  addon.enqueue(pure("max backward"), cost::functions(x.length), {dy, x, value}, {dx},
                [=](const Backend& backend, Context& context) {
                  backend.extreme_backward(
                      {dx.f32(), dy.f32(), x.f32(), value.f32(), outer, n, inner}, context);
                });
  return addon.wrap(dx);
}

// fold(kind, x, outer, n, inner, p) → [outer, inner]
Napi::Value fold(Addon& addon, Args& args) {
  const auto kind = static_cast<FoldKind>(args.size());
  Buffer x = args.buffer();
  const int64_t outer = args.size(), n = args.size(), inner = args.size();
  const double p = args.number();
  const bool integer = x.dtype == DType::int32;
  args.expect(x, outer * n * inner, x.dtype);
  if (integer && kind != FoldKind::product) args.expect(x, x.length);
  Buffer out = x.beside(outer * inner, x.dtype);
  const bool power = kind == FoldKind::norm && p != 0 && p != 1 && p != 2 && std::isfinite(p);
  const int64_t cost = power ? cost::scalar_functions(x.length)
                       : kind == FoldKind::logsumexp || kind == FoldKind::variance
                           ? cost::functions(x.length)
                           : cost::elements(x.length);
  addon.enqueue(pure("fold"), cost, {x}, {out}, [=](const Backend& backend, Context& context) {
    backend.fold({kind, integer, out.raw(), x.raw(), outer, n, inner, p}, context);
  });
  return addon.wrap(out);
}

// scan(kind, x, a or null, outer, n, inner, reverse) → [outer, n, inner]
Napi::Value scan(Addon& addon, Args& args) {
  const auto kind = static_cast<ScanKind>(args.size());
  Buffer x = args.buffer();
  Buffer a = args.optional_buffer();
  const int64_t outer = args.size(), n = args.size(), inner = args.size();
  const bool reverse = args.boolean(), integer = x.dtype == DType::int32;
  args.expect(x, outer * n * inner, x.dtype);
  args.expect(a, x.length);
  if (kind == ScanKind::linear && (integer || !a)) {
    throw Napi::TypeError::New(args.env(), "internal: a recurrence takes floats and factors");
  }
  Buffer out = x.beside(x.length, x.dtype);
  addon.enqueue(pure("scan"), cost::functions(x.length), {x, a}, {out},
                [=](const Backend& backend, Context& context) {
                  backend.scan({kind, integer, reverse, out.raw(), x.raw(), a ? a.f32() : nullptr,
                                outer, n, inner},
                               context);
                });
  return addon.wrap(out);
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

// layerNorm(x, rows, n, weight, bias, eps) → [y, mean, scale]
Napi::Value layer_norm(Addon& addon, Args& args) {
  Buffer x = args.buffer();
  const int64_t rows = args.size(), n = args.size();
  Buffer weight = args.optional_buffer(), bias = args.optional_buffer();
  const auto eps = static_cast<float>(args.number());
  args.expect(x, rows * n);
  args.expect(weight, n);
  args.expect(bias, n);
  Buffer y = x.beside(rows * n), mean = x.beside(rows), scale = x.beside(rows);
  addon.enqueue(pure("layerNorm"), cost::elements(3 * x.length), {x, weight, bias},
                {y, mean, scale}, [=](const Backend& backend, Context& context) {
                  backend.layer_norm_forward({x.f32(), weight.f32(), bias.f32(), y.f32(),
                                              mean.f32(), scale.f32(), rows, n, eps},
                                             context);
                });
  return addon.wrap_all({y, mean, scale});
}

// layerNormBackward(dy, x, rows, n, weight, mean, scale, needsX, needsWeight, needsBias) →
// [dx, dweight, dbias]
Napi::Value layer_norm_backward(Addon& addon, Args& args) {
  Buffer dy = args.buffer(), x = args.buffer();
  const int64_t rows = args.size(), n = args.size();
  Buffer weight = args.optional_buffer(), mean = args.buffer(), scale = args.buffer();
  args.expect(dy, rows * n);
  args.expect(x, rows * n);
  args.expect(weight, n);
  args.expect(mean, rows);
  args.expect(scale, rows);
  Buffer dx = args.boolean() ? x.beside(rows * n) : Buffer{};
  Buffer dweight = args.boolean() ? x.beside(n) : Buffer{};
  Buffer dbias = args.boolean() ? x.beside(n) : Buffer{};
  addon.enqueue("layerNorm backward", cost::elements(4 * x.length), {dy, x, weight, mean, scale},
                {dx, dweight, dbias}, [=](const Backend& backend, Context& context) {
                  backend.layer_norm_backward(
                      {dy.f32(), x.f32(), weight.f32(), mean.f32(), scale.f32(), dx.f32(),
                       dweight.f32(), dbias.f32(), rows, n},
                      context);
                });
  return addon.wrap_all({dx, dweight, dbias});
}

}  // namespace

void register_reduce(Napi::Env env, Napi::Object exports, Addon* addon) {
  add_entry<sum>(env, exports, "sum", addon);
  add_entry<max>(env, exports, "max", addon);
  add_entry<max_backward>(env, exports, "maxBackward", addon);
  add_entry<extreme_backward>(env, exports, "extremeBackward", addon);
  add_entry<fold>(env, exports, "fold", addon);
  add_entry<scan>(env, exports, "scan", addon);
  add_entry<softmax>(env, exports, "softmax", addon);
  add_entry<softmax_backward>(env, exports, "softmaxBackward", addon);
  add_entry<layer_norm>(env, exports, "layerNorm", addon);
  add_entry<layer_norm_backward>(env, exports, "layerNormBackward", addon);
}

}  // namespace fused_rnn::node
