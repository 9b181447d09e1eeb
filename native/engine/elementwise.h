// A call of a recurrent layer without a recurrent matrix on a queue: one layer in one direction.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/batch_sizes.h"
#include "engine/executor.h"
#include "ops/ops_elementwise_layer.h"

namespace fused_rnn {

struct ElementwiseCall {
  ElementwiseShape shape{};
  BatchSizes sizes;  // what shape.batch_sizes points into
  // As in ElementwiseInputs; absent where that is null.
  Buffer a, x, v, b, state0;
  Buffer reset, mask;  // boolean

  // The active sequences of every step; also sets shape.steps and shape.rows.
  void set_sizes(std::vector<int32_t> batch_sizes);
  // Whether sizes and buffers are of the sizes that the shape says.
  bool fits() const;
  bool fits_without_product() const;  // whatever a and x are
  int64_t states() const { return shape.batch * shape.hidden; }
  int64_t outputs() const { return shape.rows * shape.hidden; }
  // Of the forward pass.
  int64_t cost() const { return cost::functions(outputs() * (shape.blocks() + 1)); }

  // On the queue's thread.
  ElementwiseInputs inputs() const {
    return {a.f32(), x.f32(), v.f32(), b.f32(), state0.f32(), reset.u8(), mask.u8()};
  }
};

struct ElementwiseOutput {
  Buffer y, last;
  Buffer states;  // for backward, of cells whose state is not the output
};

ElementwiseOutput elementwise_forward(Executor& executor, const ElementwiseCall& call, bool keep);

// Which gradients are wanted besides that of a.
struct ElementwiseNeeds {
  bool x, v, b, state0;
};
// states: what forward has left, or y. dy, dlast: absent for zeros. → da, dx, dv, db, dstate0.
std::vector<Buffer> elementwise_backward(Executor& executor, const ElementwiseCall& call,
                                         const Buffer& states, const Buffer& dy,
                                         const Buffer& dlast, const ElementwiseNeeds& needs);

// A call together with the input's product, on the CPU.
struct ElementwiseLayerCall {
  ElementwiseCall loop;  // without a and x
  // As in ElementwiseProduct.
  Buffer x, w, bias;
  int64_t inputs = 0;

  bool fits() const;
  int64_t cost() const {
    return loop.cost() +
           cost::product(loop.shape.rows, loop.shape.blocks() * loop.shape.hidden, inputs);
  }

  // On the queue's thread.
  ElementwiseInputs loop_inputs(const Buffer& a) const {
    ElementwiseInputs in = loop.inputs();
    in.a = a.f32();
    in.x = loop.shape.skip() ? x.f32() : nullptr;
    return in;
  }
  ElementwiseProduct product(bool bf16) const {
    return {x.f32(), w.f32(), bias.f32(), inputs, bf16};
  }
};

struct ElementwiseLayerOutput {
  Buffer y, last;
  Buffer states, a;  // for backward
};

ElementwiseLayerOutput elementwise_layer_forward(Executor& executor,
                                                 const ElementwiseLayerCall& call, bool keep);

struct ElementwiseLayerNeeds {
  bool x, w, bias, v, b, state0;
};
// → dx, dw, dbias, dv, db, dstate0.
std::vector<Buffer> elementwise_layer_backward(Executor& executor, const ElementwiseLayerCall& call,
                                               const Buffer& a, const Buffer& states,
                                               const Buffer& dy, const Buffer& dlast,
                                               const ElementwiseLayerNeeds& needs);

}  // namespace fused_rnn
