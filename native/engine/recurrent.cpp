#include "engine/recurrent.h"

#include <utility>

#include "cpu/int8/kernels.h"
#include "engine/deferred.h"
#include "engine/kept_weights.h"

namespace fused_rnn {
namespace {

void append(std::vector<Buffer>& list, const std::vector<Buffer>& more) {
  for (const Buffer& buffer : more) {
    if (buffer) list.push_back(buffer);
  }
}

bool has(const Buffer& buffer, int64_t length, DType dtype = DType::float32) {
  return buffer.length == length && buffer.dtype == dtype;
}

}  // namespace

void RecurrentCall::set_sizes(std::vector<int32_t> batch_sizes) {
  sizes = set_batch_sizes(shape, std::move(batch_sizes));
}

RnnStepOptions StepOptionBuffers::pointers() const {
  return {.h_factor = h_factor.f32(),
          .keep_h = keep_h.u8(),
          .keep_c = keep_c.u8(),
          .part_h = part_h,
          .part_c = part_c,
          .reset = reset.u8(),
          .mask = mask.u8()};
}

void RecurrentCall::set_options() {
  shape.drops_h = static_cast<bool>(options.h_factor);
  shape.options = options.part_h > 0 || options.part_c > 0;
  for (const Buffer& buffer : options.all()) shape.options = shape.options || buffer;
}

bool RecurrentCall::options_fit() const {
  const auto bytes = [](const Buffer& buffer, int64_t length) {
    return !buffer || has(buffer, length, DType::boolean);
  };
  const auto part = [](float p) { return p >= 0 && p < 1; };
  return (!options.h_factor || has(options.h_factor, h_floats())) &&
         bytes(options.keep_h, stacks() * shape.rows * shape.out()) &&
         bytes(options.keep_c, has_c() ? stacks() * shape.rows * shape.hidden : -1) &&
         bytes(options.reset, shape.rows) && bytes(options.mask, shape.rows) &&
         part(options.part_h) && part(options.part_c);
}

bool RecurrentCall::fits() const {
  bool ok = is_cell(shape.cell) && shape.layers >= 1 &&
            (shape.directions == 1 || shape.directions == 2) && shape.hidden >= 1 &&
            shape.input >= 1 && are_batch_sizes(*sizes, shape.batch) &&
            weights.size() == static_cast<size_t>(stacks()) * per_stack() &&
            (shape.proj == 0 || (has_c() && shape.proj < shape.hidden));
  ok = ok && (!is_int8() || (scales.size() == weights.size() && !traits_of(shape.cell).norms));
  for (size_t i = 0; ok && i < weights.size(); ++i) {
    const bool wanted = has_weight(shape, weight_of(i));
    ok = static_cast<bool>(weights[i]) == wanted;
    if (!ok || !wanted) continue;
    const auto [groups, rows, columns] = int8_sizes(i);
    if (is_int8() && groups > 0) {
      ok = has(weights[i], int8_words(groups, rows, columns), DType::int32) &&
           has(scales[i], groups * rows) && columns <= kInt8Columns;
    } else {
      ok = has(weights[i], floats_of(i));
    }
  }
  return ok && has(x, shape.rows * shape.input) && options_fit();
}

int64_t RecurrentCall::floats_of(size_t i) const {
  const auto layer = static_cast<int64_t>(i / per_stack()) / shape.directions;
  return weight_floats(shape, layer, weight_of(i));
}

RecurrentCall::Int8Sizes RecurrentCall::int8_sizes(size_t i) const {
  const CellWeight& weight = weight_of(i);
  if (weight.columns == WeightSize::none) return {0, 0, 0};
  const bool gates = weight.rows == WeightSize::gates;
  const int64_t groups = gates ? traits_of(shape.cell).gates : 1;
  const int64_t rows = gates ? shape.hidden : shape.proj;
  return {groups, rows, floats_of(i) / std::max<int64_t>(groups * rows, 1)};
}

int64_t RecurrentCall::cost() const {
  int64_t cost = 0;
  for (int64_t layer = 0; layer < shape.layers; ++layer) {
    const int64_t columns = shape.layer_input(layer) + shape.out() + shape.proj;
    cost +=
        shape.directions * (shape.steps * cost::kCall + cost::functions(shape.rows * gate_rows()) +
                            cost::product(shape.rows, gate_rows(), columns));
  }
  if (is_int8()) return cost / 4;  // bytes, and instructions
  return cost;
}

RnnInput RecurrentCall::input() const {
  const auto* one_hot = x.deferred<DeferredOneHot>();
  if (one_hot != nullptr && one_hot->classes() == shape.input) return {nullptr, one_hot->index()};
  return {x.f32(), nullptr};
}

std::vector<RnnWeights> RecurrentCall::pointers() const {
  std::vector<RnnWeights> result(static_cast<size_t>(stacks()));
  for (size_t i = 0; i < weights.size(); ++i) {
    if (is_int8() && int8_sizes(i).groups > 0) continue;
    result[i / per_stack()].*weight_of(i).value = weights[i].f32();
  }
  return result;
}

std::vector<RnnInt8Weights> RecurrentCall::int8() const {
  std::vector<RnnInt8Weights> result(is_int8() ? static_cast<size_t>(stacks()) : 0);
  for (size_t i = 0; i < weights.size() && is_int8(); ++i) {
    if (!weights[i] || int8_sizes(i).groups == 0) continue;
    RnnInt8Weights& stack = result[i / per_stack()];
    const auto value = weight_of(i).value;
    Int8Matrix& matrix = value == &RnnWeights::w_ih   ? stack.w_ih
                         : value == &RnnWeights::w_hh ? stack.w_hh
                                                      : stack.w_hr;
    matrix = {weights[i].i32(), scales[i].f32()};
  }
  return result;
}

std::vector<RnnKeptWeights> RecurrentCall::kept(uint64_t changes) const {
  std::vector<RnnKeptWeights> result(static_cast<size_t>(stacks()));
  const bool lookup = input().index != nullptr;
  for (size_t stack = 0; stack < result.size(); ++stack) {
    const auto layer = static_cast<int64_t>(stack) / shape.directions;
    const Buffer *w_ih = nullptr, *w_hh = nullptr;
    for (size_t i = stack * per_stack(); i < (stack + 1) * per_stack(); ++i) {
      if (weight_of(i).value == &RnnWeights::w_ih) w_ih = &weights[i];
      if (weight_of(i).value == &RnnWeights::w_hh) w_hh = &weights[i];
    }
    const int64_t inputs = shape.layer_input(layer), out = shape.out();
    const uint32_t* of_input = layer == 0 && lookup
                                   ? nullptr
                                   : kept_weights(*w_ih, w_ih->length / inputs, inputs, changes);
    if (of_input == nullptr && !(layer == 0 && lookup)) continue;
    result[stack] = {of_input, kept_weights(*w_hh, w_hh->length / out, out, changes)};
  }
  return result;
}

std::vector<RnnWeightGrads> RecurrentCall::gradient_pointers(
    const std::vector<Buffer>& gradients) const {
  std::vector<RnnWeightGrads> result(static_cast<size_t>(stacks()));
  for (size_t i = 0; i < gradients.size(); ++i) {
    result[i / per_stack()].*weight_of(i).gradient = gradients[i].f32();
  }
  return result;
}

RecurrentOutput recurrent_forward(Executor& executor, const RecurrentCall& call, const Buffer& h0,
                                  const Buffer& c0, bool keep) {
  const Buffer y = call.x.beside(call.y_floats());
  const Buffer hn = call.x.beside(call.h_floats());
  const Buffer cn = call.has_c() ? call.x.beside(call.c_floats()) : Buffer{};
  const Buffer workspace =
      keep ? call.x.beside(executor.backend.rnn_workspace_floats(call.shape)) : Buffer{};
  std::vector<Buffer> reads = {call.x, h0, c0};
  append(reads, call.weights);
  append(reads, call.scales);
  append(reads, call.options.all());
  executor.enqueue(pure("rnn"), call.cost(), reads, {y, hn, cn, workspace},
                   [=, bf16 = executor.precision.rnn, changes = executor.queue.changes()](
                       const Backend& backend, Context& context) {
                     const auto weights = call.pointers();
                     const bool int8 = call.is_int8();
                     const auto quantized = call.int8();
                     const bool few = bf16 && !int8 && !keep && call.shape.rows <= kKeptRows;
                     const auto kept = few ? call.kept(changes) : std::vector<RnnKeptWeights>{};
                     backend.rnn_forward(
                         {.shape = call.shape,
                          .weights = weights.data(),
                          .x = int8 ? RnnInput{call.x.f32(), nullptr} : call.input(),
                          .h0 = h0.f32(),
                          .c0 = c0.f32(),
                          .dropout = call.dropout,
                          .y = y.f32(),
                          .hn = hn.f32(),
                          .cn = cn.f32(),
                          .workspace = workspace.f32(),
                          .bf16 = bf16 && !int8,
                          .kept = few ? kept.data() : nullptr,
                          .int8 = int8 ? quantized.data() : nullptr,
                          .options = call.options.pointers()},
                         context);
                   });
  return {y, hn, cn, workspace};
}

std::vector<Buffer> recurrent_backward(Executor& executor, const RecurrentCall& call,
                                       const Buffer& workspace, const Buffer& dy, const Buffer& dhn,
                                       const Buffer& dcn, const std::vector<bool>& needed) {
  const Buffer dx = needed[0] ? call.x.beside(call.shape.rows * call.shape.input) : Buffer{};
  const Buffer dh0 = needed[1] ? call.x.beside(call.h_floats()) : Buffer{};
  const Buffer dc0 = call.has_c() && needed[2] ? call.x.beside(call.c_floats()) : Buffer{};

  std::vector<Buffer> grads(call.weights.size());
  int64_t total = 0;
  for (size_t i = 0; i < grads.size(); ++i) {
    if (!call.weights[i] || !needed[3 + i]) continue;
    grads[i] = Buffer{nullptr, total, call.floats_of(i)};
    total += grads[i].length;
  }
  const Buffer block = call.x.beside(total);
  for (Buffer& grad : grads) {
    if (grad.length > 0) grad.storage = block.storage;
  }

  std::vector<Buffer> reads = {call.x, workspace, dy, dhn, dcn};
  append(reads, call.weights);
  append(reads, call.options.all());
  executor.enqueue("rnn backward", 3 * call.cost(), reads, {dx, dh0, dc0, block},
                   [=, bf16 = executor.precision.rnn](const Backend& backend, Context& context) {
                     const auto weights = call.pointers();
                     const RnnInput x = dx ? RnnInput{call.x.f32(), nullptr} : call.input();
                     const std::vector<RnnWeightGrads> gradients = call.gradient_pointers(grads);
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
                                           .grads = gradients.data(),
                                           .bf16 = bf16,
                                           .options = call.options.pointers()},
                                          context);
                   });
  std::vector<Buffer> results = {dx, dh0, dc0};
  results.insert(results.end(), grads.begin(), grads.end());
  return results;
}

}  // namespace fused_rnn
