#include "engine/elementwise.h"

#include <utility>

namespace fused_rnn {
namespace {

// Absent, or of so many floats.
bool fits_or_absent(const Buffer& buffer, int64_t length) {
  return !buffer || (buffer.length == length && buffer.dtype == DType::float32);
}

}  // namespace

void ElementwiseCall::set_sizes(std::vector<int32_t> batch_sizes) {
  sizes = set_batch_sizes(shape, std::move(batch_sizes));
}

bool ElementwiseCall::fits() const {
  const auto kind = static_cast<int32_t>(shape.kind);
  return kind >= 0 && kind < kElementwiseKinds && shape.hidden >= 1 &&
         are_batch_sizes(*sizes, shape.batch) && a && static_cast<bool>(x) == shape.skip() &&
         static_cast<bool>(v) == (shape.v_rows() > 0) && (!b || shape.b_rows() > 0) &&
         fits_or_absent(a, outputs() * shape.blocks()) && fits_or_absent(x, outputs()) &&
         fits_or_absent(v, shape.v_rows() * shape.hidden) &&
         fits_or_absent(b, shape.b_rows() * shape.hidden) && fits_or_absent(state0, states());
}

ElementwiseOutput elementwise_forward(Executor& executor, const ElementwiseCall& call, bool keep) {
  const Buffer y = call.a.beside(call.outputs()), last = call.a.beside(call.states());
  const Buffer states = keep && call.shape.own_state() ? call.a.beside(call.outputs()) : Buffer{};
  executor.enqueue(pure("elementwise rnn"), call.cost(),
                   {call.a, call.x, call.v, call.b, call.state0}, {y, last, states},
                   [=](const Backend& backend, Context& context) {
                     backend.elementwise_forward(
                         {call.shape, call.inputs(), y.f32(), last.f32(), states.f32()}, context);
                   });
  return {y, last, states};
}

std::vector<Buffer> elementwise_backward(Executor& executor, const ElementwiseCall& call,
                                         const Buffer& states, const Buffer& dy,
                                         const Buffer& dlast, const ElementwiseNeeds& needs) {
  const auto wanted = [&](bool need, const Buffer& of) {
    return need && of ? of.beside(of.length) : Buffer{};
  };
  const Buffer da = call.a.beside(call.a.length), dx = wanted(needs.x, call.x);
  const Buffer dv = wanted(needs.v, call.v), db = wanted(needs.b, call.b);
  const Buffer dstate0 = wanted(needs.state0, call.state0);
  executor.enqueue("elementwise rnn backward", 2 * call.cost(),
                   {call.a, call.x, call.v, call.b, call.state0, states, dy, dlast},
                   {da, dx, dv, db, dstate0}, [=](const Backend& backend, Context& context) {
                     backend.elementwise_backward(
                         {call.shape, call.inputs(), states.f32(), dy.f32(), dlast.f32(), da.f32(),
                          dx.f32(), dv.f32(), db.f32(), dstate0.f32()},
                         context);
                   });
  return {da, dx, dv, db, dstate0};
}

}  // namespace fused_rnn
