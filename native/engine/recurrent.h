// A recurrent call on a queue: its arguments, what it costs, its two passes.
#pragma once

#include <cstdint>
#include <vector>

#include "cells/weights.h"
#include "engine/batch_sizes.h"
#include "engine/executor.h"

namespace fused_rnn {

// RnnStepOptions as buffers, absent where there are none.
struct StepOptionBuffers {
  Buffer h_factor;
  Buffer keep_h, keep_c, reset, mask;  // boolean
  float part_h = 0, part_c = 0;

  std::vector<Buffer> all() const { return {h_factor, keep_h, keep_c, reset, mask}; }
  // On the queue's thread.
  RnnStepOptions pointers() const;
};

struct RecurrentCall {
  RnnShape shape{};
  BatchSizes sizes;             // what shape.batch_sizes points into
  std::vector<Buffer> weights;  // per_stack() per layer and direction
  // For matrices that are int8 words (engine/int8.h), their rows' scales, in the same places; empty
  // for float32.
  std::vector<Buffer> scales;
  Buffer x;  // [rows, I]
  RnnDropout dropout{};
  StepOptionBuffers options{};

  // The active sequences of every step; also sets shape.steps and shape.rows.
  void set_sizes(std::vector<int32_t> batch_sizes);
  // Sets what shape knows of the options.
  void set_options();
  // Whether sizes, weights, x and options are of the sizes that the shape says.
  bool fits() const;

  int64_t stacks() const { return shape.layers * shape.directions; }
  // Weights of a layer and direction, those that are not there counted, too.
  size_t per_stack() const { return weights_of(shape.cell).size(); }
  int64_t gate_rows() const { return traits_of(shape.cell).gates * shape.hidden; }
  bool has_c() const { return traits_of(shape.cell).has_c; }
  int64_t h_floats() const { return stacks() * shape.batch * shape.out(); }
  int64_t c_floats() const {
    return stacks() * shape.batch * shape.hidden * traits_of(shape.cell).states;
  }
  int64_t y_floats() const { return shape.rows * shape.directions * shape.out(); }
  // Which weight of its cell the weight `i` of the flat list is, and how many elements it has.
  const CellWeight& weight_of(size_t i) const { return weights_of(shape.cell)[i % per_stack()]; }
  int64_t floats_of(size_t i) const;
  bool is_int8() const { return !scales.empty(); }
  // Of the forward pass; backward takes some three times as much.
  int64_t cost() const;
  // Of the matrix at `i` as int8: its groups of rows, rows of a group, and columns; zeros if the
  // weight is no matrix.
  struct Int8Sizes {
    int64_t groups, rows, columns;
  };
  Int8Sizes int8_sizes(size_t i) const;

  bool options_fit() const;

  // On the queue's thread: one-hot rows are looked up where nothing has written them out.
  RnnInput input() const;
  std::vector<RnnWeights> pointers() const;
  // For few rows, see kept_weights.h; null where they are not kept.
  std::vector<RnnKeptWeights> kept(uint64_t changes) const;
  std::vector<RnnInt8Weights> int8() const;
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
