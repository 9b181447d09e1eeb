// The linear layer.
#include "node/addon.h"
#include "node/deferred.h"

namespace fused_rnn::node {
namespace {

// linear(x, w, b | null, m, inputs, outputs) → y
Napi::Value linear(Addon& addon, Args& args) {
  Buffer x = args.buffer();
  Buffer w = args.buffer();
  Buffer b = args.optional_buffer();
  const int64_t m = args.size(), in = args.size(), out = args.size();
  args.expect(x, m * in);
  args.expect(w, out * in);
  args.expect(b, out);
  Buffer y = x.beside(m * out);
  addon.enqueue("linear", cost::product(m, out, in), {x, w, b}, {y},
                [=](const Backend& backend, Context& context) {
                  backend.linear({x.f32(), w.f32(), b.f32(), y.f32(), m, in, out}, context);
                });
  return addon.wrap(y);
}

// linearBackward(dy, x | null, w | null, m, inputs, outputs, bias) → [dx, dw, db]; x is given when
// dw is wanted, w when dx is.
Napi::Value linear_backward(Addon& addon, Args& args) {
  Buffer dy = args.buffer();
  Buffer x = args.optional_buffer();
  Buffer w = args.optional_buffer();
  const int64_t m = args.size(), in = args.size(), out = args.size();
  const bool bias = args.boolean();
  args.expect(dy, m * out);
  args.expect(x, m * in);
  args.expect(w, out * in);
  Buffer dx = w ? dy.beside(m * in) : Buffer{};
  Buffer dw = x ? dy.beside(out * in) : Buffer{};
  Buffer db = bias ? dy.beside(out) : Buffer{};
  const int64_t cost =
      ((w ? 1 : 0) + (x ? 1 : 0)) * cost::product(m, out, in) + cost::elements(m * out);
  addon.enqueue(
      "linear backward", cost, {dy, x, w}, {dx, dw, db},
      [=](const Backend& backend, Context& context) {
        const auto* gradient = dy.deferred<DeferredLogitsGradient>();
        if (gradient != nullptr && m > 0 && gradient->has_shape(m, out)) {
          return backend.linear_cross_entropy_backward(
              {gradient->args(), x.f32(), w.f32(), dx.f32(), dw.f32(), db.f32(), m, in, out},
              context);
        }
        backend.linear_backward(
            {dy.f32(), x.f32(), w.f32(), dx.f32(), dw.f32(), db.f32(), m, in, out}, context);
      });
  return addon.wrap_all({dx, dw, db});
}

}  // namespace

void register_linear(Napi::Env env, Napi::Object exports, Addon* addon) {
  add_entry<linear>(env, exports, "linear", addon);
  add_entry<linear_backward>(env, exports, "linearBackward", addon);
}

}  // namespace fused_rnn::node
