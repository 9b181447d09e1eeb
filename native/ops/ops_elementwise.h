// Arguments of recurrent layers without a recurrent matrix: the loop over time of one layer in one
// direction. The conventions of ops.h hold, and sequences are packed as there. The equations are in
// cells/elementwise.h.
//
//   T steps   N batch   H hidden   B blocks of columns   V rows of v, and of b
#pragma once

#include <cstdint>

namespace fused_rnn {

enum class ElementwiseKind : int32_t { indrnn_relu, indrnn_tanh, sru, sru_skip, min_gru, min_lstm };
constexpr int32_t kElementwiseKinds = 6;

struct ElementwiseShape {
  ElementwiseKind kind;
  int64_t steps;               // T
  int64_t batch;               // N
  int64_t rows;                // sum of batch_sizes
  int64_t hidden;              // H
  const int32_t* batch_sizes;  // [T], host memory
  bool reverse;                // from the last step to the first

  bool sru() const { return kind == ElementwiseKind::sru || kind == ElementwiseKind::sru_skip; }
  bool skip() const { return kind == ElementwiseKind::sru_skip; }
  // Whether the state is another one than the output.
  bool own_state() const { return sru(); }
  int64_t blocks() const {
    if (kind == ElementwiseKind::sru) return 4;
    if (kind == ElementwiseKind::sru_skip || kind == ElementwiseKind::min_lstm) return 3;
    return kind == ElementwiseKind::min_gru ? 2 : 1;
  }
  int64_t v_rows() const {
    if (sru()) return 2;
    return kind == ElementwiseKind::min_gru || kind == ElementwiseKind::min_lstm ? 0 : 1;
  }
  int64_t b_rows() const { return sru() ? 2 : 0; }
};

// What both passes read.
struct ElementwiseInputs {
  const float* a;       // [rows, B*H], the pre-activations
  const float* x;       // [rows, H], the layer's input, of cells that read it
  const float* v;       // [V, H] or null: none
  const float* b;       // [V, H] or null: none, or zeros
  const float* state0;  // [N, H] or null for zeros
  // As of RnnStepOptions, 0 or 1: a state before a step with reset is zeros, and so is the output that
  // a skipped step would repeat; a step with mask 0 keeps the state and repeats the output, which is
  // zeros before the first step where it is not the state.
  const uint8_t* reset = nullptr;  // [rows]
  const uint8_t* mask = nullptr;   // [rows]
};

struct ElementwiseForwardArgs {
  ElementwiseShape shape;
  ElementwiseInputs in;
  float* y;       // [rows, H]
  float* last;    // [N, H], the state behind each sequence
  float* states;  // [rows, H] of cells with a state of their own, for backward, or null
};

struct ElementwiseBackwardArgs {
  ElementwiseShape shape;
  ElementwiseInputs in;
  const float* states;  // [rows, H]; where the state is the output, y
  const float* dy;      // [rows, H] or null for zeros
  const float* dlast;   // [N, H] or null
  float* da;            // [rows, B*H]
  float* dx;            // [rows, H] of cells that read x, or null
  float* dv;            // [V, H] or null
  float* db;            // [V, H] or null
  float* dstate0;       // [N, H] or null
};

}  // namespace fused_rnn
