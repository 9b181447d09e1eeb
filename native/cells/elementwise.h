// Cells without a recurrent matrix: what a unit does depends on its own old state alone. cpu/ and
// cuda/elementwise_rnn run them over sequences. Such a cell has:
//
//   static constexpr int kBlocks;    // B: blocks of H columns in the pre-activations
//   static constexpr int kWeights;   // rows of H weights besides: those of v, then those of b
//   static constexpr int kBiases;    // how many of these are rows of b
//   static constexpr bool kSkip;     // whether it reads the layer's input x, too
//   static constexpr bool kOwnState; // whether its state is another one than its output
//   static constexpr bool kLinear;   // whether state = keep * state(t-1) + add; see below
//   static constexpr bool kActivates;  // see below
//   static void forward(const F (&s)[kBlocks], F x, const F (&w)[kWeights], F& state, F& h);
//   static void backward(s, x, w, F before, F after, F dh, F& dstate, F (&ds)[kBlocks], F& dx,
//                        F (&dw)[kWeights]);
//
// F is float or a vector of floats, for as many units at once. forward turns the old state into the
// new one. backward gets both, the gradient of the output and in dstate that of the new state by
// later steps, which it turns into that of the old state; it adds to dw.
//
// A linear cell, whose output is its state, has in their place
//
//   static void coefficients(const F (&s)[kBlocks], F& keep, F& add);
//   static F backward(const F (&s)[kBlocks], F before, F dstate, F (&ds)[kBlocks]);
//
// where keep and add do not depend on any state, so that time can be cut into chunks: a chunk turns
// the state before it into A * state + B. Its backward gets the whole gradient of the new state, which
// ds is proportional to, and gives keep.
//
// A cell whose functions take longest has kActivates: then s can be replaced once by what forward and
// backward make of it first, and these be called with what is there. They are
//
//   static void activate(F (&s)[kBlocks], const F (&w)[kWeights], F before);
//   forward_activated, or coefficients_activated, and backward_activated
//
// with the arguments of those above. Of a linear cell activate gets s alone. It changes the two blocks
// from kFirstActivated on.
#pragma once

#include "cells/math.h"
#include "ops/ops_elementwise.h"

namespace fused_rnn {
#if defined(FUSED_RNN_ISA)
namespace FUSED_RNN_ISA {
#endif

// IndRNN (Li et al. 2018): h = act(a + u h(t-1)).
struct IndRnnCell {
  static constexpr int kBlocks = 1;
  static constexpr int kWeights = 1;
  static constexpr int kBiases = 0;
  static constexpr bool kSkip = false;
  static constexpr bool kOwnState = false;
  static constexpr bool kLinear = false;
  static constexpr bool kActivates = false;

 protected:
  // dz: the gradient of what act is applied to.
  template <class F>
  FUSED_RNN_HD static void pass_on(F u, F before, F dz, F& dstate, F (&ds)[1], F (&dw)[1]) {
    ds[0] = dz;
    dw[0] = dw[0] + dz * before;
    dstate = dz * u;
  }
};

struct IndRnnReluCell : IndRnnCell {
  template <class F>
  FUSED_RNN_HD static void forward(const F (&s)[1], F, const F (&w)[1], F& state, F& h) {
    const F z = s[0] + w[0] * state;
    h = state = z < 0 ? F{} : z;
  }
  template <class F>
  FUSED_RNN_HD static void backward(const F (&)[1], F, const F (&w)[1], F before, F after, F dh,
                                    F& dstate, F (&ds)[1], F&, F (&dw)[1]) {
    const F dz = after <= 0 ? F{} : dh + dstate;  // a NaN lets the gradient through
    pass_on(w[0], before, dz, dstate, ds, dw);
  }
};

struct IndRnnTanhCell : IndRnnCell {
  template <class F>
  FUSED_RNN_HD static void forward(const F (&s)[1], F, const F (&w)[1], F& state, F& h) {
    h = state = tanh_(s[0] + w[0] * state);
  }
  template <class F>
  FUSED_RNN_HD static void backward(const F (&)[1], F, const F (&w)[1], F before, F after, F dh,
                                    F& dstate, F (&ds)[1], F&, F (&dw)[1]) {
    pass_on(w[0], before, (dh + dstate) * (1.0f - after * after), dstate, ds, dw);
  }
};

// SRU (Lei et al. 2018, the version with v): blocks x~, f, r and, where the input is of another
// width than the output, x'; else x' is the input.
//   f, r = sigmoid(. + v c(t-1) + b)   c = f c(t-1) + (1 - f) x~   h = r c + (1 - r) x'
template <bool skip>
struct SruCell {
  static constexpr int kBlocks = skip ? 3 : 4;
  static constexpr int kWeights = 4;  // v_f, v_r, b_f, b_r
  static constexpr int kBiases = 2;
  static constexpr bool kSkip = skip;
  static constexpr bool kOwnState = true;
  static constexpr bool kLinear = false;
  static constexpr bool kActivates = true;
  static constexpr int kFirstActivated = 1;

  template <class F>
  FUSED_RNN_HD static void activate(F (&s)[kBlocks], const F (&w)[4], F before) {
    s[1] = gate_(s[1] + w[0] * before + w[2]);
    s[2] = gate_(s[2] + w[1] * before + w[3]);
  }

  template <class F>
  FUSED_RNN_HD static void forward(const F (&s)[kBlocks], F x, const F (&w)[4], F& state, F& h) {
    F now[kBlocks];
    for (int k = 0; k < kBlocks; ++k) now[k] = s[k];
    activate(now, w, state);
    forward_activated(now, x, w, state, h);
  }
  template <class F>
  FUSED_RNN_HD static void forward_activated(const F (&s)[kBlocks], F x, const F (&)[4], F& state,
                                             F& h) {
    const F f = s[1], r = s[2], past = highway(s, x);
    state = s[0] + f * (state - s[0]);
    h = past + r * (state - past);
  }

  template <class F>
  FUSED_RNN_HD static void backward(const F (&s)[kBlocks], F x, const F (&w)[4], F before, F after,
                                    F dh, F& dstate, F (&ds)[kBlocks], F& dx, F (&dw)[4]) {
    F now[kBlocks];
    for (int k = 0; k < kBlocks; ++k) now[k] = s[k];
    activate(now, w, before);
    backward_activated(now, x, w, before, after, dh, dstate, ds, dx, dw);
  }
  template <class F>
  FUSED_RNN_HD static void backward_activated(const F (&s)[kBlocks], F x, const F (&w)[4], F before,
                                              F after, F dh, F& dstate, F (&ds)[kBlocks], F& dx,
                                              F (&dw)[4]) {
    const F f = s[1], r = s[2];
    const F dc = dstate + dh * r;
    ds[0] = dc * (1.0f - f);
    // Of the pre-activations.
    const F df = dc * (before - s[0]) * f * (1.0f - f);
    const F dr = dh * (after - highway(s, x)) * r * (1.0f - r);
    ds[1] = df, ds[2] = dr;
    const F dpast = dh * (1.0f - r);
    if constexpr (skip) {
      dx = dpast;
    } else {
      ds[3] = dpast;
    }
    dw[0] = dw[0] + df * before, dw[1] = dw[1] + dr * before;
    dw[2] = dw[2] + df, dw[3] = dw[3] + dr;
    dstate = dc * f + df * w[0] + dr * w[1];
  }

 private:
  template <class F>
  FUSED_RNN_HD static F highway(const F (&s)[kBlocks], F x) {
    if constexpr (skip) {
      return x;
    } else {
      return s[3];
    }
  }
};

// The output's function of both minimal cells: x + 1/2 for x >= 0, else sigmoid(x).
template <class F>
FUSED_RNN_HD inline F positive_(F x) {
  const F below = sigmoid_(x);
  return x < 0 ? below : x + 0.5f;
}
template <class F>
FUSED_RNN_HD inline F positive_slope(F x) {
  const F below = sigmoid_(x);
  return x < 0 ? below * (1.0f - below) : 1.0f + F{};
}

struct LinearCell {
  static constexpr int kWeights = 0;
  static constexpr int kBiases = 0;
  static constexpr bool kSkip = false;
  static constexpr bool kOwnState = false;
  static constexpr bool kLinear = true;
  static constexpr bool kActivates = false;
};

// minGRU (Feng et al. 2024): blocks z, h~.   h = (1 - z) h(t-1) + z g(h~)
struct MinGruCell : LinearCell {
  static constexpr int kBlocks = 2;
  static constexpr bool kActivates = true;
  static constexpr int kFirstActivated = 0;

  template <class F>
  FUSED_RNN_HD static void activate(F (&s)[2]) {
    s[0] = sigmoid_(s[0]);
    s[1] = positive_(s[1]);
  }

  template <class F>
  FUSED_RNN_HD static void coefficients(const F (&s)[2], F& keep, F& add) {
    F now[2] = {s[0], s[1]};
    activate(now);
    coefficients_activated(now, keep, add);
  }
  template <class F>
  FUSED_RNN_HD static void coefficients_activated(const F (&s)[2], F& keep, F& add) {
    keep = 1.0f - s[0];
    add = s[0] * s[1];
  }
  template <class F>
  FUSED_RNN_HD static F backward(const F (&s)[2], F before, F dstate, F (&ds)[2]) {
    F now[2] = {s[0], s[1]};
    activate(now);
    return backward_activated(now, before, dstate, ds);
  }
  template <class F>
  FUSED_RNN_HD static F backward_activated(const F (&s)[2], F before, F dstate, F (&ds)[2]) {
    const F z = s[0], g = s[1], keep = 1.0f - z;
    ds[0] = dstate * (g - before) * z * keep;
    // Below 1/2 g is a sigmoid.
    ds[1] = dstate * z * (g < 0.5f ? g * (1.0f - g) : 1.0f + F{});
    return keep;
  }
};

// minLSTM (Feng et al. 2024): blocks f, i, h~.   h = (f h(t-1) + i g(h~)) / (f + i)
struct MinLstmCell : LinearCell {
  static constexpr int kBlocks = 3;

  template <class F>
  FUSED_RNN_HD static void coefficients(const F (&s)[3], F& keep, F& add) {
    F take;
    shares(s, keep, take);
    add = take * positive_(s[2]);
  }
  template <class F>
  FUSED_RNN_HD static F backward(const F (&s)[3], F before, F dstate, F (&ds)[3]) {
    F keep, take;
    shares(s, keep, take);
    const F d = dstate * (before - positive_(s[2])) * keep * take;
    ds[0] = d * gate_(-s[0]);
    ds[1] = -d * gate_(-s[1]);
    ds[2] = dstate * take * positive_slope(s[2]);
    return keep;
  }

 private:
  // f / (f + i) and i / (f + i) as (1 + e^-i) and (1 + e^-f) over their sum, scaled so that the
  // largest power is 1: both gates may be as small as they like.
  template <class F>
  FUSED_RNN_HD static void shares(const F (&s)[3], F& keep, F& take) {
    const F f = detail::clamp(-s[0], -1e30f, 1e30f), i = detail::clamp(-s[1], -1e30f, 1e30f);
    F most = f < 0 ? F{} : f;
    most = i > most ? i : most;
    const F one = exp_(-most);
    keep = one + exp_(i - most);
    take = one + exp_(f - most);
    const F sum = keep + take;
    keep = keep / sum;
    take = take / sum;
  }
};

// Whether the state is zeros before the step of a row, and whether the step is skipped.
FUSED_RNN_HD inline bool resets(const ElementwiseInputs& in, int64_t row) {
  return in.reset != nullptr && in.reset[row] != 0;
}
FUSED_RNN_HD inline bool skips(const ElementwiseInputs& in, int64_t row) {
  return in.mask != nullptr && in.mask[row] == 0;
}

// f(Cell{}) for the cell of that kind.
template <class F>
void with_cell(ElementwiseKind kind, F f) {
  switch (kind) {
    case ElementwiseKind::indrnn_relu:
      return f(IndRnnReluCell{});
    case ElementwiseKind::indrnn_tanh:
      return f(IndRnnTanhCell{});
    case ElementwiseKind::sru:
      return f(SruCell<false>{});
    case ElementwiseKind::sru_skip:
      return f(SruCell<true>{});
    case ElementwiseKind::min_gru:
      return f(MinGruCell{});
    case ElementwiseKind::min_lstm:
      return f(MinLstmCell{});
  }
}

#if defined(FUSED_RNN_ISA)
}  // namespace FUSED_RNN_ISA
#endif
}  // namespace fused_rnn
