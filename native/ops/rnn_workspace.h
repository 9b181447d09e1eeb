// The workspace that the forward pass of a recurrent call leaves for the backward pass: which
// arrays there are, and where. A backend's layout says how far apart rows and arrays lie.
#pragma once

#include <cstdint>

#include "cells/norm.h"
#include "ops/ops.h"

namespace fused_rnn {
#if defined(FUSED_RNN_ISA)
namespace FUSED_RNN_ISA {
#endif

// The saved arrays of one layer and direction, as ops.h names the sizes; B: blocks of the cell's
// gate matrix. Rows are those of the packed input.
struct RnnStackSaved {
  float* gates;         // [rows, B*H], Layout::gate_row() apart: pre-activations, then activations,
                        // then, but for the layers of cpu/rnn/step_grads.h, their gradients
  float* h_prev;        // [rows, P]: the state each row started from
  float* h_in;          // [rows, P]: what W_hh multiplies; h_prev itself unless shape.drops_h
  float* c_prev;        // [rows, kStates*H], cells with a cell state
  float* u;             // [rows, H], with projection: h before it is projected
  RowMoments* moments;  // [rows], cells with norms
  float* reset_h;       // [rows, H], cells with a second product: what it multiplies
};

// One after the other: the stacks, then the outputs of the layers below the last.
//   static int64_t Layout::gate_row(int64_t blocks, int64_t hidden);  // floats from row to row
//   static int64_t Layout::array(int64_t floats);  // floats from the begin of an array to the next
template <class Layout>
class RnnWorkspaceOf {
 public:
  template <class Cell>
  RnnWorkspaceOf(Cell, const RnnShape& shape, float* memory = nullptr)
      : s_(shape),
        gate_row_(Layout::gate_row(Cell::kBlocks, shape.hidden)),
        states_(Cell::kHasC ? Cell::kStates : 0),
        norms_(Cell::kNorms),
        reset_(Cell::kResetBefore),
        memory_(memory) {}

  int64_t stack_floats() const {
    return Layout::array(s_.rows * gate_row_) +
           (s_.drops_h ? 2 : 1) * Layout::array(s_.rows * s_.out()) +
           (states_ > 0 ? Layout::array(s_.rows * states_ * s_.hidden) : 0) +
           (s_.proj > 0 ? Layout::array(s_.rows * s_.hidden) : 0) +
           (norms_ ? Layout::array(s_.rows * kRowMoments) : 0) +
           (reset_ ? Layout::array(s_.rows * s_.hidden) : 0);
  }
  // The output of a layer below the last, after dropout: [rows, D*P].
  int64_t layer_output_floats() const { return Layout::array(s_.rows * s_.directions * s_.out()); }
  int64_t floats() const {
    return s_.layers * s_.directions * stack_floats() + (s_.layers - 1) * layer_output_floats();
  }

  RnnStackSaved stack(int64_t layer, int64_t direction) const {
    float* at = memory_ + (layer * s_.directions + direction) * stack_floats();
    const auto take = [&](int64_t floats) {
      float* taken = at;
      at += Layout::array(floats);
      return taken;
    };
    RnnStackSaved saved{};
    saved.gates = take(s_.rows * gate_row_);
    saved.h_prev = take(s_.rows * s_.out());
    saved.h_in = s_.drops_h ? take(s_.rows * s_.out()) : saved.h_prev;
    if (states_ > 0) saved.c_prev = take(s_.rows * states_ * s_.hidden);
    if (s_.proj > 0) saved.u = take(s_.rows * s_.hidden);
    if (norms_) saved.moments = reinterpret_cast<RowMoments*>(take(s_.rows * kRowMoments));
    if (reset_) saved.reset_h = take(s_.rows * s_.hidden);
    return saved;
  }
  float* layer_output(int64_t layer) const {
    return memory_ + s_.layers * s_.directions * stack_floats() + layer * layer_output_floats();
  }

 private:
  const RnnShape& s_;
  int64_t gate_row_;
  int states_;
  bool norms_;
  bool reset_;
  float* memory_;
};

#if defined(FUSED_RNN_ISA)
}  // namespace FUSED_RNN_ISA
#endif
}  // namespace fused_rnn
