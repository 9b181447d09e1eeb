// A recurrent call on a queue: its arguments, what it costs, its two passes.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "engine/executor.h"

namespace fused_rnn {

// G of ops.h.
inline int64_t gates_of(CellKind cell) {
  switch (cell) {
    case CellKind::lstm:
    case CellKind::layer_norm_lstm:
      return 4;
    case CellKind::gru:
      return 3;
    default:
      return 1;
  }
}

struct RecurrentCall {
  RnnShape shape{};
  std::shared_ptr<const std::vector<int32_t>> sizes;  // what shape.batch_sizes points into
  std::vector<Buffer> weights;                        // per_stack() per layer and direction
  Buffer x;                                           // [rows, I]
  RnnDropout dropout{};

  // The active sequences of every step; also sets shape.steps and shape.rows.
  void set_sizes(std::vector<int32_t> batch_sizes);
  // Whether sizes, weights and x are of the sizes that the shape says.
  bool fits() const;

  int64_t stacks() const { return shape.layers * shape.directions; }
  // w_ih, w_hh, b_ih, b_hh, w_hr, with norms g_ih, g_hh, g_c and b_c, too.
  size_t per_stack() const { return has_norms() ? 9 : 5; }
  bool has_norms() const { return shape.cell == CellKind::layer_norm_lstm; }
  int64_t gate_rows() const { return gates_of(shape.cell) * shape.hidden; }
  bool has_c() const { return shape.cell == CellKind::lstm || has_norms(); }
  int64_t h_floats() const { return stacks() * shape.batch * shape.out(); }
  int64_t c_floats() const { return stacks() * shape.batch * shape.hidden; }
  int64_t y_floats() const { return shape.rows * shape.directions * shape.out(); }
  // Whether there is a weight of that kind, 0 to per_stack().
  bool wants(size_t kind) const;
  // Elements of weight `i` of the flat list.
  int64_t weight_floats(size_t i) const;
  // Of the forward pass; backward takes some three times as much.
  int64_t cost() const;

  // On the queue's thread: one-hot rows are looked up where nothing has written them out.
  RnnInput input() const;
  std::vector<RnnWeights> pointers() const;
  // Of the weights' gradients, in the same order.
  std::vector<RnnWeightGrads> gradient_pointers(const std::vector<Buffer>& gradients) const;
};

struct RecurrentOutput {
  Buffer y, hn;
  Buffer cn;         // of cells with c
  Buffer workspace;  // where a gradient is wanted
};

// h0, c0: absent for zeros. `keep`: whether a gradient will be wanted.
RecurrentOutput recurrent_forward(Executor& executor, const RecurrentCall& call, const Buffer& h0,
                                  const Buffer& c0, bool keep);

// → dx, dh0, dc0, then the weights' gradients, absent where `needed`, in the same order, says no;
// those of the weights are windows of one block. The workspace is used up.
std::vector<Buffer> recurrent_backward(Executor& executor, const RecurrentCall& call,
                                       const Buffer& workspace, const Buffer& dy, const Buffer& dhn,
                                       const Buffer& dcn, const std::vector<bool>& needed);

}  // namespace fused_rnn
