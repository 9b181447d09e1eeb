// Recurrent layers without a recurrent matrix.
#include "engine/elementwise.h"

#include "node/addon.h"

namespace fused_rnn::node {
namespace {

// The arguments that forward and backward share:
//   kind, hidden, batch, steps | batchSizes, reverse, a, x, v, b, state0
ElementwiseCall read_call(Args& args) {
  ElementwiseCall call;
  call.shape.kind = static_cast<ElementwiseKind>(args.size());
  call.shape.hidden = args.size();
  call.shape.batch = args.size();
  call.set_sizes(args.batch_sizes(call.shape.batch));
  call.shape.reverse = args.boolean();
  call.a = args.buffer();
  call.x = args.optional_buffer();
  call.v = args.optional_buffer();
  call.b = args.optional_buffer();
  call.state0 = args.optional_buffer();
  if (!call.fits()) {
    throw Napi::TypeError::New(args.env(), "internal: elementwise recurrent call of a wrong shape");
  }
  return call;
}

Executor& executor_of(Addon& addon, const ElementwiseCall& call, Buffers more) {
  return addon.executor_of({call.a, call.x, call.v, call.b, call.state0}, more);
}

// elementwiseRnn(…shared, keep) → [y, last, states or null]
Napi::Value elementwise_rnn(Addon& addon, Args& args) {
  const ElementwiseCall call = read_call(args);
  const bool keep = args.boolean();
  const auto out = elementwise_forward(executor_of(addon, call, {}), call, keep);
  return addon.wrap_all({out.y, out.last, out.states});
}

// elementwiseRnnBackward(…shared, states, dy, dlast, needsX, needsV, needsB, needsState0)
// → [da, dx, dv, db, dstate0], null where not needed
Napi::Value elementwise_rnn_backward(Addon& addon, Args& args) {
  const ElementwiseCall call = read_call(args);
  const Buffer states = args.buffer();
  const Buffer dy = args.optional_buffer(), dlast = args.optional_buffer();
  args.expect(states, call.outputs());
  args.expect(dy, call.outputs());
  args.expect(dlast, call.states());
  ElementwiseNeeds needs{};
  for (bool* need : {&needs.x, &needs.v, &needs.b, &needs.state0}) *need = args.boolean();
  Executor& executor = executor_of(addon, call, {states, dy, dlast});
  return addon.wrap_all(elementwise_backward(executor, call, states, dy, dlast, needs));
}

}  // namespace

void register_elementwise(Napi::Env env, Napi::Object exports, Addon* addon) {
  add_entry<elementwise_rnn>(env, exports, "elementwiseRnn", addon);
  add_entry<elementwise_rnn_backward>(env, exports, "elementwiseRnnBackward", addon);
}

}  // namespace fused_rnn::node
