// Arguments of every operation: plain structs of pointers, sizes and options.
//
// The one convention: all arrays are contiguous and row-major; shapes stand behind the names.
// Gradients are named d + name. A null pointer means absent: no bias, no gradient wanted.
// Sizes are checked by the caller; kernels do not check them again. Kernels never keep a pointer.
#pragma once

#include <cstdint>

#include "ops/ops_elementwise.h"
#include "ops/ops_indexing.h"
#include "ops/ops_sequence.h"
#include "ops/ops_tensor.h"
#include "ops/ops_training.h"

namespace fused_rnn {

// ---- Linear -----------------------------------------------------------------------------------

// Weights as int8, in the layout of cpu/int8/kernels.h.
struct Int8Matrix {
  const int32_t* words = nullptr;
  const float* scales = nullptr;  // a row's
};

// y = x * w^T + b
struct LinearArgs {
  const float* x;  // [M, I]
  const float* w;  // [O, I]
  const float* b;  // [O] or null
  float* y;        // [M, O]
  int64_t m, in, out;
  bool bf16 = false;               // on the CPU: factors rounded to bfloat16. So below
  const uint32_t* kept = nullptr;  // w for few rows, as cpu/bf16 keeps it; then w is not read
  Int8Matrix int8 = {};            // on the CPU: instead of w
};

struct LinearBackwardArgs {
  const float* dy;  // [M, O]
  const float* x;   // [M, I], needed for dw
  const float* w;   // [O, I], needed for dx
  float* dx;        // [M, I] or null
  float* dw;        // [O, I] or null
  float* db;        // [O] or null
  int64_t m, in, out;
  bool bf16 = false;
};

// linear_backward of dy = the gradient of a cross entropy, which is never written down.
struct LinearCrossEntropyBackwardArgs {
  CrossEntropyBackwardArgs loss;  // of logits [M, O]; dlogits is not used
  const float* x;                 // [M, I], needed for dw
  const float* w;                 // [O, I], needed for dx
  float* dx;                      // [M, I] or null
  float* dw;                      // [O, I] or null
  float* db;                      // [O] or null
  int64_t m, in, out;
  bool bf16 = false;
};

// ---- Rows by index ----------------------------------------------------------------------------

// y[o, i, :] = x[o, index[i], :], or, with fill_absent, `fill` where index[i] is -1. Elements of
// any type. Any other index outside [0, rows) is an error that names `op`.
struct GatherRowsArgs {
  const char* op;
  const void* x;         // [outer, rows, width]
  const int32_t* index;  // [n]
  void* y;               // [outer, n, width]
  int64_t outer, rows, width, n;
  bool fill_absent;
  uint32_t fill;       // its bits
  bool bytes = false;  // elements of one byte, not four
};

// dx[o, r, :] = sum of dy[o, i, :] over index[i] = r, in the order of i; 0 for r = skip.
struct ScatterAddRowsArgs {
  const float* dy;       // [outer, n, width]
  const int32_t* index;  // [n], as gather_rows accepted it
  float* dx;             // [outer, rows, width]
  int64_t outer, rows, width, n;
  int64_t skip;  // -1: none
};

// Rows that were sorted by their index, those of one index added up: where `sorted` begins another
// index, index[i] is it and sums[i, :] is the sum of x[order[j], :] over its run, in this order;
// everywhere else, and for indices below 0, index[i] is -1 and sums[i, :] is 0.
struct SumRunsArgs {
  const int32_t* sorted;  // [n]
  const int32_t* order;   // [n], each in [0, n)
  const float* x;         // [n, width]
  int32_t* index;         // [n]
  float* sums;            // [n, width]
  int64_t n, width;
};

// ---- Recurrent layers -------------------------------------------------------------------------
//
// A batch of sequences is packed by time: step t has batch_sizes[t] rows, never more than the step
// before; the rows of all steps lie one after the other. Sequences of one length are the special
// case of equal batch sizes, and then [rows, X] is [T, N, X].
//
//   T steps   N batch   I input   H hidden   P = proj_size or H   D directions   L layers
//   G gates: RNN 1, GRU 3 (r, z, n), LSTM 4 (i, f, g, o), PyTorch's order; variants the same
enum class CellKind : int32_t;  // cells/kinds.h, from cells/cells.def

struct RnnShape {
  CellKind cell;
  int64_t layers;      // L
  int64_t directions;  // D, 1 or 2
  int64_t steps;       // T
  int64_t batch;       // N
  int64_t rows;        // sum of batch_sizes
  int64_t input;       // I
  int64_t hidden;      // H
  int64_t proj;        // 0: no projection
  bool bias;
  const int32_t* batch_sizes;  // [T], host memory
  bool options = false;        // whether RnnStepOptions has any
  bool drops_h = false;        // whether it has h_factor: the workspace then holds another h

  int64_t out() const { return proj > 0 ? proj : hidden; }  // P
  int64_t layer_input(int64_t layer) const { return layer == 0 ? input : directions * out(); }
};

// One layer and direction; cells/weights.h says which of them a cell has. The biases are null
// without bias, w_hr without projection.
struct RnnWeights {
  const float* w_ih;  // [G*H, I or D*P]
  const float* w_hh;  // [G*H, P]
  const float* b_ih;  // [G*H]
  const float* b_hh;  // [G*H]
  const float* w_hr;  // [P, H]
  // Of cells with layer norms, else null: their gains, and the cell state's shift, which is null
  // without bias. The shifts of the two products' norms are b_ih and b_hh.
  const float* g_ih = nullptr;  // [G*H]
  const float* g_hh = nullptr;  // [G*H]
  const float* g_c = nullptr;   // [H]
  const float* b_c = nullptr;   // [H]
  // Of cells with peepholes, else null.
  const float* w_ci = nullptr;  // [H]
  const float* w_cf = nullptr;  // [H]
  const float* w_co = nullptr;  // [H]
};
struct RnnWeightGrads {
  float* dw_ih;
  float* dw_hh;
  float* db_ih;
  float* db_hh;
  float* dw_hr;
  float* dg_ih = nullptr;
  float* dg_hh = nullptr;
  float* dg_c = nullptr;
  float* db_c = nullptr;
  float* dw_ci = nullptr;
  float* dw_cf = nullptr;
  float* dw_co = nullptr;
};

// Dropout between layers: element i of layer l's output is kept when the counter-based generator
// says so for (seed, counter, l, i), so that backward draws the same mask again.
struct RnnDropout {
  float p;
  uint64_t seed;
  uint64_t counter;
};

// What may happen to the states between the steps, besides the cell; null or 0: nothing. In this
// order, for a row that goes from h(t-1), c(t-1) to h(t), c(t):
//   1. reset: h(t-1) and c(t-1) become zeros, through which no gradient goes;
//   2. h_factor: W_hh multiplies h(t-1) * h_factor; nothing else sees it (Gal & Ghahramani 2016);
//   3. zoneout: h(t) = keep_h ? h(t-1) : part_h h(t-1) + (1 - part_h) h, with the cell's (or the
//      projection's) h, and the same for c (Krueger et al. 2016);
//   4. mask: where it is 0, h(t) = h(t-1) and c(t) = c(t-1).
struct RnnStepOptions {
  const float* h_factor = nullptr;  // [L*D, N, P]
  const uint8_t* keep_h = nullptr;  // [L*D, rows, P]: 0 or 1
  const uint8_t* keep_c = nullptr;  // [L*D, rows, H], cells with c
  float part_h = 0, part_c = 0;     // in [0, 1)
  const uint8_t* reset = nullptr;   // [rows]: 0 or 1, for all layers. So is mask
  const uint8_t* mask = nullptr;    // [rows]

  bool zones() const {
    return keep_h != nullptr || keep_c != nullptr || part_h > 0 || part_c > 0 || mask != nullptr;
  }
  bool any() const { return zones() || h_factor != nullptr || reset != nullptr; }
  // As one layer and direction has them: h_factor [N, P], keep_h [rows, P], keep_c [rows, H].
  RnnStepOptions of(const RnnShape& s, int64_t stack) const {
    RnnStepOptions own = *this;
    if (h_factor != nullptr) own.h_factor += stack * s.batch * s.out();
    if (keep_h != nullptr) own.keep_h += stack * s.rows * s.out();
    if (keep_c != nullptr) own.keep_c += stack * s.rows * s.hidden;
    return own;
  }
};

// The input: values, or, of one-hot rows, where each has its 1.
struct RnnInput {
  const float* values;   // [rows, I] or null
  const int32_t* index;  // [rows], each in [0, I), or null
};

// Weights of a layer and direction for few rows, as cpu/bf16 keeps them.
struct RnnKeptWeights {
  const uint32_t* w_ih;
  const uint32_t* w_hh;
};

// Matrices of a layer and direction as int8, each gate's rows a group; w_hr without projection: none.
struct RnnInt8Weights {
  Int8Matrix w_ih, w_hh, w_hr;
};

struct RnnForwardArgs {
  RnnShape shape;
  const RnnWeights* weights;  // [L*D]
  RnnInput x;
  const float* h0;  // [L*D, N, P] or null for zeros
  const float* c0;  // [L*D, N, H] (cells with c) or null
  RnnDropout dropout;
  float* y;          // [rows, D*P]
  float* hn;         // [L*D, N, P]
  float* cn;         // [L*D, N, H] (cells with c)
  float* workspace;  // rnn_workspace_floats(shape), or null when no gradient is wanted
  bool bf16 = false;
  const RnnKeptWeights* kept = nullptr;  // [L*D], of few rows in all; then those are not read
  const RnnInt8Weights* int8 = nullptr;  // [L*D], on the CPU: instead of all matrices
  RnnStepOptions options = {};
};

struct RnnBackwardArgs {
  RnnShape shape;
  const RnnWeights* weights;  // [L*D]
  RnnInput x;
  RnnDropout dropout;
  float* workspace;             // as forward left it; its contents are used up
  const float* dy;              // [rows, D*P] or null for zeros
  const float* dhn;             // [L*D, N, P] or null
  const float* dcn;             // [L*D, N, H] or null
  float* dx;                    // [rows, I] or null; never of one-hot rows
  float* dh0;                   // [L*D, N, P] or null
  float* dc0;                   // [L*D, N, H] or null
  const RnnWeightGrads* grads;  // [L*D]; null members are not computed
  bool bf16 = false;
  RnnStepOptions options = {};  // as forward had them
};

// Floats that forward saves for backward.
int64_t rnn_workspace_floats(const RnnShape& shape);

}  // namespace fused_rnn
