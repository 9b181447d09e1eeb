// A call of a recurrent layer without a recurrent matrix on a queue: one layer in one direction.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/batch_sizes.h"
#include "engine/executor.h"

namespace fused_rnn {

struct ElementwiseCall {
  ElementwiseShape shape{};
  BatchSizes sizes;  // what shape.batch_sizes points into
  // As in ElementwiseInputs; absent where that is null.
  Buffer a, x, v, b, state0;

  // The active sequences of every step; also sets shape.steps and shape.rows.
  void set_sizes(std::vector<int32_t> batch_sizes);
  // Whether sizes and buffers are of the sizes that the shape says.
  bool fits() const;
  int64_t states() const { return shape.batch * shape.hidden; }
  int64_t outputs() const { return shape.rows * shape.hidden; }
  // Of the forward pass.
  int64_t cost() const { return cost::functions(outputs() * (shape.blocks() + 1)); }

  // On the queue's thread.
  ElementwiseInputs inputs() const { return {a.f32(), x.f32(), v.f32(), b.f32(), state0.f32()}; }
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

}  // namespace fused_rnn
