#include "api/unit_layers.h"

#include <utility>

namespace fused_rnn {
namespace {

bool input_bias(UnitCell cell) { return cell != UnitCell::sru; }

ElementwiseKind kind_of(UnitCell cell, bool alike) {
  switch (cell) {
    case UnitCell::ind_rnn_relu:
      return ElementwiseKind::indrnn_relu;
    case UnitCell::ind_rnn_tanh:
      return ElementwiseKind::indrnn_tanh;
    case UnitCell::sru:
      return alike ? ElementwiseKind::sru_skip : ElementwiseKind::sru;
    case UnitCell::min_gru:
      return ElementwiseKind::min_gru;
    case UnitCell::min_lstm:
      break;
  }
  return ElementwiseKind::min_lstm;
}

// The place of a state [N, H] in [L * D, N, H].
Buffer part_of(const Buffer& whole, int64_t index, int64_t length) {
  if (!whole) return {};
  Buffer part = whole;
  part.offset += index * length;
  part.length = length;
  return part;
}

// [outer, widths...] side by side.
Buffer side_by_side(Executor& executor, const std::vector<Buffer>& parts, int64_t outer) {
  if (parts.size() == 1) return parts[0];
  std::vector<int64_t> widths;
  int64_t total = 0;
  for (const Buffer& part : parts) {
    widths.push_back(part.length / outer);
    total += part.length;
  }
  const Buffer out = parts[0].beside(total);
  executor.enqueue(pure("cat"), cost::elements(total), parts, {out},
                   [=](const Backend& backend, Context& context) {
                     std::vector<const void*> pointers;
                     for (const Buffer& part : parts) pointers.push_back(part.raw());
                     backend.concat({out.raw(), pointers.data(), widths.data(),
                                     static_cast<int64_t>(parts.size()), outer, false},
                                    context);
                   });
  return out;
}

// Columns [at, at + width) of x [rows, columns].
Buffer columns_of(Executor& executor, const Buffer& x, int64_t rows, int64_t columns, int64_t at,
                  int64_t width) {
  const Buffer out = x.beside(rows * width);
  executor.enqueue(pure("copy"), cost::functions(out.length), {x}, {out},
                   [=](const Backend& backend, Context& context) {
                     CopyStridedArgs call{};
                     call.dims = 2;
                     call.shape[0] = rows, call.shape[1] = width;
                     call.strides[0] = columns, call.strides[1] = 1;
                     call.out = out.raw();
                     call.in = x.f32() + at;
                     backend.copy_strided(call, context);
                   });
  return out;
}

// to += x; x itself where there is no `to`.
void add_to(Executor& executor, Buffer& to, const Buffer& x) {
  if (!x) return;
  if (!to) {
    to = x;
    return;
  }
  const Buffer sum = to;
  executor.enqueue("addInto", cost::elements(sum.length), {x}, {sum},
                   [=](const Backend& backend, Context& context) {
                     backend.add_into({sum.f32(), x.f32(), sum.length}, context);
                   });
}

}  // namespace

std::vector<UnitWeight> unit_weights(UnitCell cell, int64_t inputs, int64_t hidden) {
  switch (cell) {
    case UnitCell::ind_rnn_relu:
    case UnitCell::ind_rnn_tanh:
      return {{"weight_ih", {hidden, inputs}, false},
              {"weight_hh", {hidden}, false},
              {"bias", {hidden}, true}};
    case UnitCell::sru:
      return {{"weight_ih", {(inputs == hidden ? 3 : 4) * hidden, inputs}, false},
              {"weight_c", {2 * hidden}, false},
              {"bias", {2 * hidden}, true}};
    case UnitCell::min_gru:
    case UnitCell::min_lstm:
      break;
  }
  const int64_t rows = (cell == UnitCell::min_gru ? 2 : 3) * hidden;
  return {{"weight_ih", {rows, inputs}, false}, {"bias_ih", {rows}, true}};
}

UnitOutput unit_forward(Engine::Impl& engine, const UnitStack& stack,
                        const std::vector<Buffer>& weights, const Buffer& x, const Buffer& h0,
                        float dropout_chance, UnitSaved* saved) {
  Executor& executor = engine.executor;
  const size_t count = unit_weights(stack.cell, stack.input, stack.hidden).size();
  const std::vector<int32_t> sizes(static_cast<size_t>(stack.steps),
                                   static_cast<int32_t>(stack.batch));
  Buffer rows = x;
  std::vector<Buffer> ends;
  if (saved != nullptr) saved->dropout = dropout_chance;
  for (int64_t layer = 0; layer < stack.layers; ++layer) {
    const int64_t inputs = stack.layer_input(layer);
    std::vector<Buffer> outputs;
    for (int64_t direction = 0; direction < stack.directions; ++direction) {
      const int64_t at = layer * stack.directions + direction;
      const Buffer* own = &weights[static_cast<size_t>(at) * count];
      const Buffer& bias = own[count - 1];
      ElementwiseCall call;
      call.shape.kind = kind_of(stack.cell, inputs == stack.hidden);
      call.shape.hidden = stack.hidden;
      call.shape.batch = stack.batch;
      call.shape.reverse = direction == 1;
      call.set_sizes(sizes);
      call.a = linear(executor, rows, own[0], input_bias(stack.cell) ? bias : Buffer{},
                      stack.rows(), inputs, call.shape.blocks() * stack.hidden);
      if (call.shape.skip()) call.x = rows;
      if (count == 3) call.v = own[1];
      if (!input_bias(stack.cell)) call.b = bias;
      call.state0 = part_of(h0, at, call.states());
      const ElementwiseOutput out = elementwise_forward(executor, call, saved != nullptr);
      outputs.push_back(out.y);
      ends.push_back(out.last);
      if (saved != nullptr) {
        saved->directions.push_back({std::move(call), rows, out.states ? out.states : out.y});
      }
    }
    rows = side_by_side(executor, outputs, stack.rows());
    if (saved != nullptr && dropout_chance > 0 && layer + 1 < stack.layers) {
      saved->dropouts.push_back(engine.next_random());
      rows = dropout(executor, rows, dropout_chance, saved->dropouts.back());
    }
  }
  return {rows, side_by_side(executor, ends, 1)};
}

UnitGradients unit_backward(Engine::Impl& engine, const UnitStack& stack,
                            const std::vector<Buffer>& weights, const UnitSaved& saved,
                            const Buffer& dy, const Buffer& dhn, bool input_gradient,
                            bool state_gradient) {
  Executor& executor = engine.executor;
  const size_t count = unit_weights(stack.cell, stack.input, stack.hidden).size();
  UnitGradients gradients;
  gradients.weights.resize(weights.size());
  std::vector<Buffer> dstates(static_cast<size_t>(stack.stacks()));
  Buffer drows = dy;
  for (int64_t layer = stack.layers - 1; layer >= 0; --layer) {
    const int64_t inputs = stack.layer_input(layer);
    const bool further = layer > 0 || input_gradient;
    if (drows && static_cast<size_t>(layer) < saved.dropouts.size()) {
      drows = dropout(executor, drows, saved.dropout, saved.dropouts[static_cast<size_t>(layer)]);
    }
    Buffer dinput;
    for (int64_t direction = 0; direction < stack.directions; ++direction) {
      const auto at = static_cast<size_t>(layer * stack.directions + direction);
      const Buffer* own = &weights[at * count];
      Buffer* grads = &gradients.weights[at * count];
      const UnitSaved::Direction& kept = saved.directions[at];
      const Buffer dout =
          !drows || stack.directions == 1
              ? drows
              : columns_of(executor, drows, stack.rows(), stack.directions * stack.hidden,
                           direction * stack.hidden, stack.hidden);
      const Buffer dlast = part_of(dhn, static_cast<int64_t>(at), kept.call.states());
      const std::vector<Buffer> d = elementwise_backward(
          executor, kept.call, kept.states, dout, dlast, {further, true, true, state_gradient});
      const bool bias = input_bias(stack.cell) && own[count - 1];
      const LinearGradients of_product =
          linear_backward(executor, d[0], kept.rows, further ? own[0] : Buffer{}, stack.rows(),
                          inputs, kept.call.shape.blocks() * stack.hidden, bias);
      grads[0] = of_product.dw;
      if (count == 3) grads[1] = d[2];
      grads[count - 1] = input_bias(stack.cell) ? of_product.db : d[3];
      add_to(executor, dinput, of_product.dx);
      add_to(executor, dinput, d[1]);
      dstates[at] = d[4];
    }
    drows = dinput;
  }
  gradients.dx = drows;
  if (state_gradient) gradients.dh0 = side_by_side(executor, dstates, 1);
  return gradients;
}

}  // namespace fused_rnn
