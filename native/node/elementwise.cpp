// Recurrent layers without a recurrent matrix.
#include "engine/elementwise.h"

#include "node/addon.h"

namespace fused_rnn::node {
namespace {

// kind, hidden, batch, steps | batchSizes, reverse
ElementwiseCall read_shape(Args& args) {
  ElementwiseCall call;
  call.shape.kind = static_cast<ElementwiseKind>(args.size());
  call.shape.hidden = args.size();
  call.shape.batch = args.size();
  call.set_sizes(args.batch_sizes(call.shape.batch));
  call.shape.reverse = args.boolean();
  return call;
}

// v, b, state0, reset, mask
void read_loop(Args& args, ElementwiseCall& call) {
  for (Buffer* one : {&call.v, &call.b, &call.state0, &call.reset, &call.mask}) {
    *one = args.optional_buffer();
  }
}

// The arguments that forward and backward share:
//   …shape, a, x, …loop
ElementwiseCall read_call(Args& args) {
  ElementwiseCall call = read_shape(args);
  call.a = args.buffer();
  call.x = args.optional_buffer();
  read_loop(args, call);
  if (!call.fits()) {
    throw Napi::TypeError::New(args.env(), "internal: elementwise recurrent call of a wrong shape");
  }
  return call;
}

Executor& executor_of(Addon& addon, const ElementwiseCall& call, Buffers more) {
  return addon.executor_of({call.a, call.x, call.v, call.b, call.state0, call.reset, call.mask},
                           more);
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

// The same with the product: …shape, inputs, x, w, bias, …loop
ElementwiseLayerCall read_layer(Args& args) {
  ElementwiseLayerCall call;
  call.loop = read_shape(args);
  call.inputs = args.size();
  call.x = args.buffer();
  call.w = args.buffer();
  call.bias = args.optional_buffer();
  read_loop(args, call.loop);
  if (!call.fits()) {
    throw Napi::TypeError::New(args.env(), "internal: elementwise recurrent layer of wrong shapes");
  }
  return call;
}

Executor& executor_of(Addon& addon, Args& args, const ElementwiseLayerCall& call, Buffers more) {
  Executor& executor = addon.executor_of({call.x, call.w, call.bias, call.loop.v, call.loop.b,
                                          call.loop.state0, call.loop.reset, call.loop.mask},
                                         more);
  expect_cpu(args, executor);
  return executor;
}

// elementwiseLayer(…layer, keep) → [y, last, states or null, a or null]
Napi::Value elementwise_layer(Addon& addon, Args& args) {
  const ElementwiseLayerCall call = read_layer(args);
  const bool keep = args.boolean();
  const auto out = elementwise_layer_forward(executor_of(addon, args, call, {}), call, keep);
  return addon.wrap_all({out.y, out.last, out.states, out.a});
}

// elementwiseLayerBackward(…layer, a, states, dy, dlast, needsX, needsW, needsBias, needsV, needsB,
//   needsState0) → [dx, dw, dbias, dv, db, dstate0], null where not needed
Napi::Value elementwise_layer_backward(Addon& addon, Args& args) {
  const ElementwiseLayerCall call = read_layer(args);
  const Buffer a = args.buffer(), states = args.buffer();
  const Buffer dy = args.optional_buffer(), dlast = args.optional_buffer();
  args.expect(a, call.loop.outputs() * call.loop.shape.blocks());
  args.expect(states, call.loop.outputs());
  args.expect(dy, call.loop.outputs());
  args.expect(dlast, call.loop.states());
  ElementwiseLayerNeeds needs{};
  for (bool* need : {&needs.x, &needs.w, &needs.bias, &needs.v, &needs.b, &needs.state0}) {
    *need = args.boolean();
  }
  Executor& executor = executor_of(addon, args, call, {a, states, dy, dlast});
  return addon.wrap_all(
      fused_rnn::elementwise_layer_backward(executor, call, a, states, dy, dlast, needs));
}

}  // namespace

void register_elementwise(Napi::Env env, Napi::Object exports, Addon* addon) {
  add_entry<elementwise_rnn>(env, exports, "elementwiseRnn", addon);
  add_entry<elementwise_rnn_backward>(env, exports, "elementwiseRnnBackward", addon);
  add_entry<elementwise_layer>(env, exports, "elementwiseLayer", addon);
  add_entry<elementwise_layer_backward>(env, exports, "elementwiseLayerBackward", addon);
}

}  // namespace fused_rnn::node
