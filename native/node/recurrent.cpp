// Recurrent layers.
#include "engine/recurrent.h"

#include "node/addon.h"

namespace fused_rnn::node {
namespace {

// A number of steps of the whole batch each, or an Int32Array of batch sizes.
std::vector<int32_t> read_sizes(Args& args, int64_t batch) {
  Napi::Value value = args.value();
  if (value.IsNumber()) {
    return std::vector<int32_t>(static_cast<size_t>(value.As<Napi::Number>().Int64Value()),
                                static_cast<int32_t>(batch));
  }
  auto array = value.As<Napi::Int32Array>();
  return {array.Data(), array.Data() + array.ElementLength()};
}

// The arguments that forward and backward share:
//   cell, layers, directions, input, hidden, proj, bias, batch, steps | batchSizes, x, dropout,
//   seed, counter, …, weights
// weights: as in RecurrentCall, five or nine buffers per layer and direction, null where there is
// none, each an argument.
RecurrentCall read_call(Args& args) {
  RecurrentCall call;
  call.shape.cell = static_cast<CellKind>(args.size());
  call.shape.layers = args.size();
  call.shape.directions = args.size();
  call.shape.input = args.size();
  call.shape.hidden = args.size();
  call.shape.proj = args.size();
  call.shape.bias = args.boolean();
  call.shape.batch = args.size();
  call.set_sizes(read_sizes(args, call.shape.batch));
  call.x = args.buffer();
  call.dropout.p = static_cast<float>(args.number());
  call.dropout.seed = static_cast<uint64_t>(args.size());
  call.dropout.counter = static_cast<uint64_t>(args.size());
  call.weights = args.last_buffers(static_cast<size_t>(call.stacks()) * call.per_stack());
  if (!call.fits()) {
    throw Napi::TypeError::New(args.env(), "internal: recurrent call of a wrong shape");
  }
  return call;
}

// rnnForward(…shared, h0, c0, keep, …weights) → [y, hn, cn or null, workspace or null]
Napi::Value rnn_forward(Addon& addon, Args& args) {
  const RecurrentCall call = read_call(args);
  const Buffer h0 = args.optional_buffer();
  const Buffer c0 = args.optional_buffer();
  const bool keep = args.boolean();
  args.expect(h0, call.h_floats());
  args.expect(c0, call.c_floats());
  Executor& executor = addon.executor_of({call.x, h0, c0}, call.weights);
  const RecurrentOutput out = recurrent_forward(executor, call, h0, c0, keep);
  return addon.wrap_all({out.y, out.hn, out.cn, out.workspace});
}

// rnnBackward(…shared, workspace, dy, dhn, dcn, …needs, …weights) → [dx, dh0, dc0, …weight
// gradients], null where `needs`, booleans in the same order, says no. The workspace is used up.
// The weight gradients are windows of one block.
Napi::Value rnn_backward(Addon& addon, Args& args) {
  const RecurrentCall call = read_call(args);
  const Buffer workspace = args.buffer();
  const Buffer dy = args.optional_buffer();
  const Buffer dhn = args.optional_buffer();
  const Buffer dcn = args.optional_buffer();
  std::vector<bool> needed(3 + call.weights.size());
  for (size_t i = 0; i < needed.size(); ++i) needed[i] = args.boolean();
  Executor& executor = addon.executor_of({call.x, workspace, dy, dhn, dcn}, call.weights);
  args.expect(workspace, executor.backend.rnn_workspace_floats(call.shape));
  args.expect(dy, call.y_floats());
  args.expect(dhn, call.h_floats());
  args.expect(dcn, call.c_floats());
  return addon.wrap_all(recurrent_backward(executor, call, workspace, dy, dhn, dcn, needed));
}

}  // namespace

void register_recurrent(Napi::Env env, Napi::Object exports, Addon* addon) {
  add_entry<rnn_forward>(env, exports, "rnnForward", addon);
  add_entry<rnn_backward>(env, exports, "rnnBackward", addon);
}

}  // namespace fused_rnn::node
