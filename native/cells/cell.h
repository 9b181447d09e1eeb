// What a cell is: its gate equations for one unit, forward beside backward, from which both
// backends build their time loops. To add one, write a struct like those in lstm.h, gru.h and
// rnn.h, and name it in cells.def; docs/extending.md goes through an example.
//
//   N sequences   H hidden   P = proj_size or H   G gates   B blocks of the gate matrix, at least G
//
// The gate matrix has a row for every sequence and step: B blocks of H columns. One unit's part of
// it is s[B], with which each step does this:
//
//   1. The input product W_ih x [G*H] is put into the G blocks from kInputBlock on, in the order of
//      PyTorch's gates. A block below kInputBlock begins as its bias.
//   2. The recurrent product W_hh h(t-1) [G*H] is added to the blocks that kHiddenRuns names.
//   3. forward() turns s from pre-activations into what backward() needs, and gives h and c.
//   4. Later, backward() turns s into the gradients of the pre-activations. The products' gradients
//      are read from the same blocks.
//
//   static constexpr int kGates;       // G: blocks of rows in w_ih and w_hh
//   static constexpr int kBlocks;      // B: blocks of columns in the gate matrix
//   static constexpr int kInputBlock;  // first block that the input product fills
//   static constexpr bool kHasC;       // whether there is a cell state besides h
//   static constexpr bool kDirectH;    // whether h(t-1) reaches h(t) past the gates
//   static constexpr HiddenRun kHiddenRuns[];
//   static void forward(F (&s)[kBlocks], F h_prev, F c_prev, F& h, F& c);
//   static void backward(F (&s)[kBlocks], F h_prev, F c_prev, F dh, F dc, F& dh_prev, F& dc_prev);
//
// F is float or a vector of floats, for as many units at once. h_prev is only there with kDirectH,
// c_prev, c, dc and dc_prev only with kHasC. dh and dc are the gradients of h(t) and c(t); dh_prev
// is the part of h(t-1)'s that does not go through W_hh.
//
// What few cells have besides is in PlainCell, from which every cell derives:
//
//   static constexpr bool kNorms;         // whether rows are normalised
//   static constexpr int kUnitWeights;    // weights that a unit has for itself: peepholes
//   static constexpr bool kResetBefore;   // whether a step has a second product, of a part of h(t-1)
//   static constexpr int kStates;         // of a cell with c: how many states that is, H units each
//   static constexpr bool kOneBias;       // whether both products share a bias
//   static constexpr bool kHeads;         // whether w_hh may be divided into heads
//
// A cell with unit weights gets them as w[kUnitWeights] behind s, in the order of UnitWeights, and
// its backward() leaves their gradients, of this row and step, in its last argument:
//
//   static void forward(F (&s)[kBlocks], const F (&w)[kUnitWeights], F h_prev, …);
//   static void backward(F (&s)[kBlocks], const F (&w)[kUnitWeights], F h_prev, …,
//                        F (&dw)[kUnitWeights]);
//
// A cell with several states in c has them one behind the other, [kStates*H], and gets arrays:
//
//   static void forward(F (&s)[kBlocks], const F (&c_prev)[kStates], F& h, F (&c)[kStates]);
//   static void backward(F (&s)[kBlocks], const F (&c_prev)[kStates], F dh, const F (&dc)[kStates],
//                        F (&dc_prev)[kStates]);
//
// A cell with a second product multiplies the gates of kResetRuns not by h(t-1), but by what
// reset() makes of it and of the block kResetBlock, once kHiddenRuns have been added:
//
//   static F reset(F& r, F h_prev);  // r: pre-activation, becomes the gate
//   static void reset_backward(F& r, F h_prev, F d, F& dh_prev);
//
// forward() then gets this block as a gate. backward() leaves it alone: reset_backward() turns it
// into its gradient, from the gradient d of what reset() gave, and adds its part to dh_prev.
//
// A cell with layer norms needs means over all units before it can go on with one of them. So its
// equations come in two parts, with the norm of c between them, and both products stay in blocks of
// their own: the loops (cpu/rnn/layer_norm.h, cuda/rnn/layer_norm_kernels.h) keep the moments of
// their rows and hand over normalised numbers. layer_norm_lstm.h has the four functions.
#pragma once

#include "cells/math.h"

namespace fused_rnn {
#if defined(FUSED_RNN_ISA)
namespace FUSED_RNN_ISA {
#endif

// The gates [gate, gate + count) of w_hh are added to the blocks [block, block + count).
struct HiddenRun {
  int block;
  int gate;
  int count;
};

// What most cells do not have.
struct PlainCell {
  static constexpr bool kNorms = false;
  static constexpr int kUnitWeights = 0;
  static constexpr bool kResetBefore = false;
  static constexpr int kStates = 1;
  static constexpr bool kOneBias = false;
  static constexpr bool kHeads = false;
};

// f(run, whether it multiplies what reset() gave) for all that W_hh is added to.
template <class Cell, class F>
constexpr void each_run(F f) {
  for (const HiddenRun& run : Cell::kHiddenRuns) f(run, false);
  if constexpr (Cell::kResetBefore) {
    for (const HiddenRun& run : Cell::kResetRuns) f(run, true);
  }
}

// The gates that h(t-1) itself is multiplied for; they are the first blocks of the gate matrix.
template <class Cell>
constexpr int hidden_gates() {
  int count = 0;
  for (const HiddenRun& run : Cell::kHiddenRuns) count += run.count;
  return count;
}
template <class Cell>
inline constexpr int kHiddenGates = hidden_gates<Cell>();

// The weights of the units of a layer, [H] each; null beyond the cell's kUnitWeights.
constexpr int kMostUnitWeights = 3;
struct UnitWeights {
  const float* of[kMostUnitWeights];
};

// Whether a step is one product, and then each unit by itself with nothing but its gates and
// states. Only such cells have persistent kernels.
template <class Cell>
inline constexpr bool kPlainSteps =
    !Cell::kNorms && Cell::kUnitWeights == 0 && !Cell::kResetBefore && Cell::kStates == 1;

#if defined(FUSED_RNN_ISA)
}  // namespace FUSED_RNN_ISA
#endif
}  // namespace fused_rnn
