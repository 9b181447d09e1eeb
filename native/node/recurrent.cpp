// Recurrent layers.
#include "engine/recurrent.h"

#include "node/addon.h"

namespace fused_rnn::node {
namespace {

// The arguments that forward and backward share:
//   cell, layers, directions, input, hidden, proj, bias, batch, steps | batchSizes, x, dropout,
//   seed, counter, partH, partC, [hFactor, keepH, keepC, reset, mask] or null, …, weights
// weights: for each layer and direction those of cells(), null where there is none, each an
// argument; of int8, as many scales behind them.
RecurrentCall read_call(Args& args, bool int8 = false) {
  RecurrentCall call;
  call.shape.cell = static_cast<CellKind>(args.size());
  if (!is_cell(call.shape.cell)) throw Napi::TypeError::New(args.env(), "internal: no such cell");
  call.shape.layers = args.size();
  call.shape.directions = args.size();
  call.shape.input = args.size();
  call.shape.hidden = args.size();
  call.shape.proj = args.size();
  call.shape.bias = args.boolean();
  call.shape.batch = args.size();
  call.set_sizes(args.batch_sizes(call.shape.batch));
  call.x = args.buffer();
  call.dropout.p = static_cast<float>(args.number());
  call.dropout.seed = static_cast<uint64_t>(args.size());
  call.dropout.counter = static_cast<uint64_t>(args.size());
  call.options.part_h = static_cast<float>(args.number());
  call.options.part_c = static_cast<float>(args.number());
  const std::vector<Buffer> options = args.optional_buffers();
  if (!options.empty() && options.size() != 5) {
    throw Napi::TypeError::New(args.env(), "internal: options of a recurrent call");
  }
  if (!options.empty()) {
    call.options.h_factor = options[0];
    call.options.keep_h = options[1];
    call.options.keep_c = options[2];
    call.options.reset = options[3];
    call.options.mask = options[4];
  }
  call.set_options();
  const auto weights = static_cast<size_t>(call.stacks()) * call.per_stack();
  if (int8) {
    call.weights = args.last_buffers(2 * weights);
    call.scales.assign(call.weights.begin() + static_cast<ptrdiff_t>(weights), call.weights.end());
    call.weights.resize(weights);
  } else {
    call.weights = args.last_buffers(weights);
  }
  if (!call.fits()) {
    throw Napi::TypeError::New(args.env(), "internal: recurrent call of a wrong shape");
  }
  return call;
}

Napi::Value forward_of(Addon& addon, Args& args, const RecurrentCall& call) {
  const Buffer h0 = args.optional_buffer();
  const Buffer c0 = args.optional_buffer();
  const bool keep = !call.is_int8() && args.boolean();
  args.expect(h0, call.h_floats());
  args.expect(c0, call.c_floats());
  Executor& executor = addon.executor_of({call.x, h0, c0}, call.weights);
  if (call.is_int8()) expect_cpu(args, executor);
  const RecurrentOutput out = recurrent_forward(executor, call, h0, c0, keep);
  return addon.wrap_all({out.y, out.hn, out.cn, out.workspace});
}

// rnnForward(…shared, h0, c0, keep, …weights) → [y, hn, cn or null, workspace or null]
Napi::Value rnn_forward(Addon& addon, Args& args) {
  return forward_of(addon, args, read_call(args));
}

// int8Rnn(…shared, h0, c0, …weights, …scales) → [y, hn, cn or null, null]
Napi::Value int8_rnn(Addon& addon, Args& args) {
  return forward_of(addon, args, read_call(args, true));
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

// cells() → what cells/weights.h knows of every cell, in CellKind's order: name, gates, states in c,
// norms, heads, and its weights, each with its name, its shape as the names of sizes, and whether it
// needs a bias or a projection to be there.
Napi::Value cells(Addon&, Args& args) {
  const Napi::Env env = args.env();
  auto result = Napi::Array::New(env);
  for (const CellKind kind : kCells) {
    auto cell = Napi::Object::New(env);
    const CellTraits& traits = traits_of(kind);
    cell["name"] = traits.name;
    cell["gates"] = traits.gates;
    cell["states"] = traits.states;
    cell["norms"] = Napi::Boolean::New(env, traits.norms);
    cell["heads"] = Napi::Boolean::New(env, traits.heads);
    auto weights = Napi::Array::New(env);
    for (const CellWeight& of : weights_of(kind)) {
      auto weight = Napi::Object::New(env);
      auto shape = Napi::Array::New(env);
      for (const WeightSize size : {of.rows, of.columns}) {
        if (size == WeightSize::none) continue;
        shape[shape.Length()] = Napi::String::New(env, name_of(size));
      }
      weight["name"] = of.name;
      weight["shape"] = shape;
      weight["bias"] = Napi::Boolean::New(env, of.bias);
      weight["projection"] = Napi::Boolean::New(env, of.projection);
      weights[weights.Length()] = weight;
    }
    cell["weights"] = weights;
    result[result.Length()] = cell;
  }
  return result;
}

}  // namespace

void register_recurrent(Napi::Env env, Napi::Object exports, Addon* addon) {
  add_entry<cells>(env, exports, "cells", addon);
  add_entry<rnn_forward>(env, exports, "rnnForward", addon);
  add_entry<int8_rnn>(env, exports, "int8Rnn", addon);
  add_entry<rnn_backward>(env, exports, "rnnBackward", addon);
}

}  // namespace fused_rnn::node
