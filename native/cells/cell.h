// What a cell is: its gate equations for one unit, forward beside backward, from which both
// backends build their time loops. To add one, write a struct like those in lstm.h, gru.h and
// rnn.h and name it in cells.h.
//
// A row of the gate matrix holds kBlocks blocks of H columns. The input product W_ih x fills the
// kGates blocks from kInputBlock on, in PyTorch's gate order; the recurrent product W_hh h is added
// to the kGates blocks from 0 on, whose gates kHiddenRuns names. forward() turns the row's
// pre-activations into what backward() needs, and backward() turns that into their gradients.
//
//   static constexpr int kGates;       // G: blocks of rows in w_ih and w_hh
//   static constexpr int kBlocks;      // blocks of columns in the gate matrix
//   static constexpr int kInputBlock;  // first block that the input product fills
//   static constexpr bool kHasC;       // whether there is a cell state besides h
//   static constexpr bool kDirectH;    // whether h(t-1) reaches h(t) past the gates
//   static constexpr bool kNorms;      // whether rows are normalised: see below
//   static constexpr HiddenRun kHiddenRuns[];
//   static void forward(F (&s)[kBlocks], F h_prev, F c_prev, F& h, F& c);
//   static void backward(F (&s)[kBlocks], F h_prev, F c_prev, F dh, F dc, F& dh_prev, F& dc_prev);
//
// F is float or a vector of floats, for so many units at once.
//
// A cell with layer norms needs means over all units before it can go on with one of them. So its
// equations come in two parts, with the norm of c between them, and both products stay in blocks of
// their own, as they are: the loops (cpu/rnn/layer_norm.h, cuda/norms.cu) keep the moments of their
// rows and hand over normalised numbers. layer_norm_lstm.h has the four functions.
#pragma once

#include "cells/math.h"

namespace fused_rnn {
#if defined(FUSED_RNN_ISA)
namespace FUSED_RNN_ISA {
#endif

// `count` blocks of gate-matrix columns from `block` on belong to the gates of w_hh from `gate` on.
struct HiddenRun {
  int block;
  int gate;
  int count;
};

#if defined(FUSED_RNN_ISA)
}  // namespace FUSED_RNN_ISA
#endif
}  // namespace fused_rnn
