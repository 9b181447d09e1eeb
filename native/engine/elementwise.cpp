#include "engine/elementwise.h"

#include <utility>

namespace fused_rnn {
namespace {

// Absent, or of so many floats.
bool fits_or_absent(const Buffer& buffer, int64_t length) {
  return !buffer || (buffer.length == length && buffer.dtype == DType::float32);
}

// Absent, or a boolean of each row.
bool masks_rows(const Buffer& buffer, int64_t rows) {
  return !buffer || (buffer.length == rows && buffer.dtype == DType::boolean);
}

// For the gradient of an input that is there.
Buffer wanted(bool need, const Buffer& of) { return need && of ? of.beside(of.length) : Buffer{}; }

}  // namespace

void ElementwiseCall::set_sizes(std::vector<int32_t> batch_sizes) {
  sizes = set_batch_sizes(shape, std::move(batch_sizes));
}

bool ElementwiseCall::fits_without_product() const {
  const auto kind = static_cast<int32_t>(shape.kind);
  return kind >= 0 && kind < kElementwiseKinds && shape.hidden >= 1 &&
         are_batch_sizes(*sizes, shape.batch) && static_cast<bool>(v) == (shape.v_rows() > 0) &&
         (!b || shape.b_rows() > 0) && fits_or_absent(v, shape.v_rows() * shape.hidden) &&
         fits_or_absent(b, shape.b_rows() * shape.hidden) && fits_or_absent(state0, states()) &&
         masks_rows(reset, shape.rows) && masks_rows(mask, shape.rows);
}

bool ElementwiseCall::fits() const {
  return fits_without_product() && a && static_cast<bool>(x) == shape.skip() &&
         fits_or_absent(a, outputs() * shape.blocks()) && fits_or_absent(x, outputs());
}

bool ElementwiseLayerCall::fits() const {
  const int64_t columns = loop.shape.blocks() * loop.shape.hidden;
  return loop.fits_without_product() && inputs >= 1 && x && w &&
         (!loop.shape.skip() || inputs == loop.shape.hidden) &&
         fits_or_absent(x, loop.shape.rows * inputs) && fits_or_absent(w, columns * inputs) &&
         fits_or_absent(bias, columns);
}

ElementwiseOutput elementwise_forward(Executor& executor, const ElementwiseCall& call, bool keep) {
  const Buffer y = call.a.beside(call.outputs()), last = call.a.beside(call.states());
  const Buffer states = keep && call.shape.own_state() ? call.a.beside(call.outputs()) : Buffer{};
  executor.enqueue(pure("elementwise rnn"), call.cost(),
                   {call.a, call.x, call.v, call.b, call.state0, call.reset, call.mask},
                   {y, last, states}, [=](const Backend& backend, Context& context) {
                     backend.elementwise_forward(
                         {call.shape, call.inputs(), y.f32(), last.f32(), states.f32()}, context);
                   });
  return {y, last, states};
}

std::vector<Buffer> elementwise_backward(Executor& executor, const ElementwiseCall& call,
                                         const Buffer& states, const Buffer& dy,
                                         const Buffer& dlast, const ElementwiseNeeds& needs) {
  const Buffer da = call.a.beside(call.a.length), dx = wanted(needs.x, call.x);
  const Buffer dv = wanted(needs.v, call.v), db = wanted(needs.b, call.b);
  const Buffer dstate0 = wanted(needs.state0, call.state0);
  executor.enqueue(
      "elementwise rnn backward", 2 * call.cost(),
      {call.a, call.x, call.v, call.b, call.state0, call.reset, call.mask, states, dy, dlast},
      {da, dx, dv, db, dstate0}, [=](const Backend& backend, Context& context) {
        backend.elementwise_backward(
            {call.shape, call.inputs(), states.f32(), dy.f32(), dlast.f32(), da.f32(), dx.f32(),
             dv.f32(), db.f32(), dstate0.f32()},
            context);
      });
  return {da, dx, dv, db, dstate0};
}

ElementwiseLayerOutput elementwise_layer_forward(Executor& executor,
                                                 const ElementwiseLayerCall& call, bool keep) {
  const ElementwiseCall& loop = call.loop;
  const Buffer y = call.x.beside(loop.outputs()), last = call.x.beside(loop.states());
  const Buffer states = keep && loop.shape.own_state() ? call.x.beside(loop.outputs()) : Buffer{};
  const Buffer a = keep ? call.x.beside(loop.outputs() * loop.shape.blocks()) : Buffer{};
  executor.enqueue(pure("elementwise rnn"), call.cost(),
                   {call.x, call.w, call.bias, loop.v, loop.b, loop.state0, loop.reset, loop.mask},
                   {y, last, states, a},
                   [=, bf16 = executor.precision.matmul](const Backend&, Context& context) {
                     elementwise_layer_kernels().forward(
                         {{loop.shape, call.loop_inputs({}), y.f32(), last.f32(), states.f32()},
                          call.product(bf16),
                          a.f32()},
                         context);
                   });
  return {y, last, states, a};
}

std::vector<Buffer> elementwise_layer_backward(Executor& executor, const ElementwiseLayerCall& call,
                                               const Buffer& a, const Buffer& states,
                                               const Buffer& dy, const Buffer& dlast,
                                               const ElementwiseLayerNeeds& needs) {
  const ElementwiseCall& loop = call.loop;
  const Buffer dx = wanted(needs.x, call.x), dw = wanted(needs.w, call.w);
  const Buffer dbias = wanted(needs.bias, call.bias), dv = wanted(needs.v, loop.v);
  const Buffer db = wanted(needs.b, loop.b), dstate0 = wanted(needs.state0, loop.state0);
  executor.enqueue(
      "elementwise rnn backward", 2 * call.cost(),
      {call.x, call.w, loop.v, loop.b, loop.state0, loop.reset, loop.mask, a, states, dy, dlast},
      {dx, dw, dbias, dv, db, dstate0},
      [=, bf16 = executor.precision.matmul](const Backend&, Context& context) {
        float* const past = loop.shape.skip() ? dx.f32() : nullptr;
        elementwise_layer_kernels().backward(
            {{loop.shape, call.loop_inputs(a), states.f32(), dy.f32(), dlast.f32(), nullptr, past,
              dv.f32(), db.f32(), dstate0.f32()},
             call.product(bf16),
             dx.f32(),
             dw.f32(),
             dbias.f32()},
            context);
      });
  return {dx, dw, dbias, dv, db, dstate0};
}

}  // namespace fused_rnn
