// The linear layer.
#include "engine/calls.h"
#include "node/addon.h"

namespace fused_rnn::node {
namespace {

// linear(x, w, b | null, m, inputs, outputs, inference) → y
Napi::Value linear(Addon& addon, Args& args) {
  Buffer x = args.buffer();
  Buffer w = args.buffer();
  Buffer b = args.optional_buffer();
  const int64_t m = args.size(), in = args.size(), out = args.size();
  const bool inference = args.boolean();
  args.expect(x, m * in);
  args.expect(w, out * in);
  args.expect(b, out);
  Executor& executor = addon.executor_of({x, w, b}, {});
  return addon.wrap(fused_rnn::linear(executor, x, w, b, m, in, out, inference));
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
  Executor& executor = addon.executor_of({dy, x, w}, {});
  const auto [dx, dw, db] = fused_rnn::linear_backward(executor, dy, x, w, m, in, out, bias);
  return addon.wrap_all({dx, dw, db});
}

}  // namespace

void register_linear(Napi::Env env, Napi::Object exports, Addon* addon) {
  add_entry<linear>(env, exports, "linear", addon);
  add_entry<linear_backward>(env, exports, "linearBackward", addon);
}

}  // namespace fused_rnn::node
