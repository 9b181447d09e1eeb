// Recurrent layers.
#include <memory>

#include "node/addon.h"
#include "node/deferred.h"

namespace fused_rnn::node {
namespace {

constexpr size_t kPerStack = 5;  // w_ih, w_hh, b_ih, b_hh, w_hr

// The arguments that forward and backward share:
//   cell, layers, directions, input, hidden, proj, bias, batch, steps | batchSizes, x, dropout,
//   seed, counter, …, weights
// weights: five buffers per layer and direction, null where there is none, each an argument.
struct RnnCall {
  explicit RnnCall(Args& args) {
    shape.cell = static_cast<CellKind>(args.size());
    shape.layers = args.size();
    shape.directions = args.size();
    shape.input = args.size();
    shape.hidden = args.size();
    shape.proj = args.size();
    shape.bias = args.boolean();
    shape.batch = args.size();
    sizes = std::make_shared<const std::vector<int32_t>>(read_sizes(args));
    shape.steps = static_cast<int64_t>(sizes->size());
    shape.batch_sizes = sizes->data();
    for (int32_t size : *sizes) shape.rows += size;
    x = args.buffer();
    dropout.p = static_cast<float>(args.number());
    dropout.seed = static_cast<uint64_t>(args.size());
    dropout.counter = static_cast<uint64_t>(args.size());
    weights = args.last_buffers(static_cast<size_t>(stacks()) * kPerStack);
    check(args);
  }

  int64_t stacks() const { return shape.layers * shape.directions; }
  int64_t gate_rows() const {
    const int64_t gates = shape.cell == CellKind::lstm ? 4 : shape.cell == CellKind::gru ? 3 : 1;
    return gates * shape.hidden;
  }
  bool has_c() const { return shape.cell == CellKind::lstm; }
  int64_t h_floats() const { return stacks() * shape.batch * shape.out(); }
  int64_t c_floats() const { return stacks() * shape.batch * shape.hidden; }
  int64_t y_floats() const { return shape.rows * shape.directions * shape.out(); }

  // Of the forward pass; backward takes some three times as much.
  int64_t cost() const {
    int64_t cost = 0;
    for (int64_t layer = 0; layer < shape.layers; ++layer) {
      const int64_t columns = shape.layer_input(layer) + shape.out() + shape.proj;
      cost += shape.directions *
              (shape.steps * cost::kCall + cost::functions(shape.rows * gate_rows()) +
               cost::product(shape.rows, gate_rows(), columns));
    }
    return cost;
  }

  // Elements of weight `i` of the flat list.
  int64_t weight_floats(size_t i) const {
    const auto layer = static_cast<int64_t>(i / kPerStack) / shape.directions;
    switch (i % kPerStack) {
      case 0:
        return gate_rows() * shape.layer_input(layer);
      case 1:
        return gate_rows() * shape.out();
      case 4:
        return shape.proj * shape.hidden;
      default:
        return gate_rows();
    }
  }

  // One-hot rows are looked up where nothing has written them out.
  RnnInput input() const {
    const auto* one_hot = x.deferred<DeferredOneHot>();
    if (one_hot != nullptr && one_hot->classes() == shape.input) return {nullptr, one_hot->index()};
    return {x.f32(), nullptr};
  }

  std::vector<RnnWeights> pointers() const {
    std::vector<RnnWeights> result(static_cast<size_t>(stacks()));
    for (size_t i = 0; i < result.size(); ++i) {
      const Buffer* b = &weights[i * kPerStack];
      result[i] = {b[0].f32(), b[1].f32(), b[2].f32(), b[3].f32(), b[4].f32()};
    }
    return result;
  }

  RnnShape shape{};
  std::shared_ptr<const std::vector<int32_t>> sizes;  // what shape.batch_sizes points into
  std::vector<Buffer> weights;
  Buffer x;
  RnnDropout dropout{};

 private:
  // A number of steps of the whole batch each, or an Int32Array of batch sizes.
  std::vector<int32_t> read_sizes(Args& args) const {
    Napi::Value value = args.value();
    if (value.IsNumber()) {
      return std::vector<int32_t>(static_cast<size_t>(value.As<Napi::Number>().Int64Value()),
                                  static_cast<int32_t>(shape.batch));
    }
    auto array = value.As<Napi::Int32Array>();
    return {array.Data(), array.Data() + array.ElementLength()};
  }

  void check(Args& args) const {
    bool ok = shape.layers >= 1 && (shape.directions == 1 || shape.directions == 2) &&
              shape.hidden >= 1 && shape.input >= 1 && !sizes->empty() &&
              sizes->front() == shape.batch && sizes->back() >= 0 &&
              weights.size() == static_cast<size_t>(stacks()) * kPerStack &&
              (shape.proj == 0 || (has_c() && shape.proj < shape.hidden));
    for (size_t t = 1; ok && t < sizes->size(); ++t) ok = (*sizes)[t] <= (*sizes)[t - 1];
    for (size_t i = 0; ok && i < weights.size(); ++i) {
      const size_t kind = i % kPerStack;
      const bool wanted = kind < 2 || (kind < 4 ? shape.bias : shape.proj > 0);
      ok = static_cast<bool>(weights[i]) == wanted;
      if (ok && wanted) args.expect(weights[i], weight_floats(i));
    }
    if (!ok) throw Napi::TypeError::New(args.env(), "internal: recurrent call of a wrong shape");
    args.expect(x, shape.rows * shape.input);
  }
};

void append(std::vector<Buffer>& list, const std::vector<Buffer>& more) {
  for (const Buffer& buffer : more) {
    if (buffer) list.push_back(buffer);
  }
}

int64_t workspace_floats(Addon& addon, const RnnCall& call) {
  return addon.place_of({call.x}, {}).backend.rnn_workspace_floats(call.shape);
}

// rnnForward(…shared, h0, c0, keep, …weights) → [y, hn, cn or null, workspace or null]
Napi::Value rnn_forward(Addon& addon, Args& args) {
  const RnnCall call(args);
  const Buffer h0 = args.optional_buffer();
  const Buffer c0 = args.optional_buffer();
  const bool keep = args.boolean();
  args.expect(h0, call.h_floats());
  args.expect(c0, call.c_floats());
  const Buffer y = call.x.beside(call.y_floats());
  const Buffer hn = call.x.beside(call.h_floats());
  const Buffer cn = call.has_c() ? call.x.beside(call.c_floats()) : Buffer{};
  const Buffer workspace = keep ? call.x.beside(workspace_floats(addon, call)) : Buffer{};

  std::vector<Buffer> reads = {call.x, h0, c0};
  append(reads, call.weights);
  addon.enqueue("rnn", call.cost(), reads, {y, hn, cn, workspace},
                [=](const Backend& backend, Context& context) {
                  const auto weights = call.pointers();
                  backend.rnn_forward({.shape = call.shape,
                                       .weights = weights.data(),
                                       .x = call.input(),
                                       .h0 = h0.f32(),
                                       .c0 = c0.f32(),
                                       .dropout = call.dropout,
                                       .y = y.f32(),
                                       .hn = hn.f32(),
                                       .cn = cn.f32(),
                                       .workspace = workspace.f32()},
                                      context);
                });
  return addon.wrap_all({y, hn, cn, workspace});
}

// rnnBackward(…shared, workspace, dy, dhn, dcn, …needs, …weights) → [dx, dh0, dc0, …weight
// gradients], null where `needs`, booleans in the same order, says no. The workspace is used up.
// The weight gradients are windows of one block.
Napi::Value rnn_backward(Addon& addon, Args& args) {
  const RnnCall call(args);
  const Buffer workspace = args.buffer();
  const Buffer dy = args.optional_buffer();
  const Buffer dhn = args.optional_buffer();
  const Buffer dcn = args.optional_buffer();
  std::vector<bool> needed(3 + call.weights.size());
  for (size_t i = 0; i < needed.size(); ++i) needed[i] = args.boolean();
  args.expect(workspace, workspace_floats(addon, call));
  args.expect(dy, call.y_floats());
  args.expect(dhn, call.h_floats());
  args.expect(dcn, call.c_floats());
  const Buffer dx = needed[0] ? call.x.beside(call.shape.rows * call.shape.input) : Buffer{};
  const Buffer dh0 = needed[1] ? call.x.beside(call.h_floats()) : Buffer{};
  const Buffer dc0 = call.has_c() && needed[2] ? call.x.beside(call.c_floats()) : Buffer{};

  std::vector<Buffer> grads(call.weights.size());
  int64_t total = 0;
  for (size_t i = 0; i < grads.size(); ++i) {
    if (!call.weights[i] || !needed[3 + i]) continue;
    grads[i] = Buffer{nullptr, total, call.weight_floats(i)};
    total += grads[i].length;
  }
  const Buffer block = call.x.beside(total);
  for (Buffer& grad : grads) {
    if (grad.length > 0) grad.storage = block.storage;
  }

  std::vector<Buffer> reads = {call.x, workspace, dy, dhn, dcn};
  append(reads, call.weights);
  addon.enqueue("rnn backward", 3 * call.cost(), reads, {dx, dh0, dc0, block},
                [=](const Backend& backend, Context& context) {
                  const auto weights = call.pointers();
                  const RnnInput x = dx ? RnnInput{call.x.f32(), nullptr} : call.input();
                  std::vector<RnnWeightGrads> gradients(weights.size());
                  for (size_t i = 0; i < gradients.size(); ++i) {
                    const Buffer* b = &grads[i * kPerStack];
                    gradients[i] = {b[0].f32(), b[1].f32(), b[2].f32(), b[3].f32(), b[4].f32()};
                  }
                  backend.rnn_backward({.shape = call.shape,
                                        .weights = weights.data(),
                                        .x = x,
                                        .dropout = call.dropout,
                                        .workspace = workspace.f32(),
                                        .dy = dy.f32(),
                                        .dhn = dhn.f32(),
                                        .dcn = dcn.f32(),
                                        .dx = dx.f32(),
                                        .dh0 = dh0.f32(),
                                        .dc0 = dc0.f32(),
                                        .grads = gradients.data()},
                                       context);
                });
  std::vector<Buffer> results = {dx, dh0, dc0};
  results.insert(results.end(), grads.begin(), grads.end());
  return addon.wrap_all(results);
}

}  // namespace

void register_recurrent(Napi::Env env, Napi::Object exports, Addon* addon) {
  add_entry<rnn_forward>(env, exports, "rnnForward", addon);
  add_entry<rnn_backward>(env, exports, "rnnBackward", addon);
}

}  // namespace fused_rnn::node
