// Losses of pairs of an input x and a target t, element by element, and their gradients.
//
// Included inside the namespace of an instruction set, as cells/math.h.
#pragma once

#include <math.h>

#include "cells/math.h"
#include "ops/ops_training.h"

namespace fused_rnn {
#if defined(FUSED_RNN_ISA)
namespace FUSED_RNN_ISA {
#endif
namespace pair_losses {

// What a formula gets beside x and t: weights, and the loss's one option.
struct Extra {
  float weight, pos_weight, option;
};

FUSED_RNN_HD inline float sign(float x) { return x > 0 ? 1.0f : x < 0 ? -1.0f : x; }

struct Mse {
  FUSED_RNN_HD static float loss(float x, float t, Extra) { return (x - t) * (x - t); }
  FUSED_RNN_HD static float dx(float x, float t, Extra) { return 2 * (x - t); }
  FUSED_RNN_HD static float dt(float x, float t, Extra) { return 2 * (t - x); }
};

struct BceLogits {
  // log(1 + exp(-x)) without overflow
  FUSED_RNN_HD static float softplus(float x) { return (x < 0 ? -x : 0) + log1pf(exp_(-fabsf(x))); }
  FUSED_RNN_HD static float loss(float x, float t, Extra e) {
    return e.weight * ((1 - t) * x + (1 + (e.pos_weight - 1) * t) * softplus(x));
  }
  FUSED_RNN_HD static float dx(float x, float t, Extra e) {
    return e.weight * ((1 - t) - (1 + (e.pos_weight - 1) * t) * sigmoid_(-x));
  }
  FUSED_RNN_HD static float dt(float x, float, Extra e) {
    return e.weight * ((e.pos_weight - 1) * softplus(x) - x);
  }
};

struct L1 {
  FUSED_RNN_HD static float loss(float x, float t, Extra) { return fabsf(x - t); }
  FUSED_RNN_HD static float dx(float x, float t, Extra) { return sign(x - t); }
  FUSED_RNN_HD static float dt(float x, float t, Extra) { return sign(t - x); }
};

// option: beta, where the square ends.
struct SmoothL1 {
  FUSED_RNN_HD static float loss(float x, float t, Extra e) {
    const float d = fabsf(x - t);
    return d < e.option ? 0.5f * d * d / e.option : d - 0.5f * e.option;
  }
  FUSED_RNN_HD static float dx(float x, float t, Extra e) {
    const float d = x - t;
    return fabsf(d) < e.option ? d / e.option : sign(d);
  }
  FUSED_RNN_HD static float dt(float x, float t, Extra e) { return -dx(x, t, e); }
};

// option: delta.
struct Huber {
  FUSED_RNN_HD static float loss(float x, float t, Extra e) {
    const float d = fabsf(x - t);
    return d <= e.option ? 0.5f * d * d : e.option * (d - 0.5f * e.option);
  }
  FUSED_RNN_HD static float dx(float x, float t, Extra e) {
    const float d = x - t;
    return fabsf(d) <= e.option ? d : e.option * sign(d);
  }
  FUSED_RNN_HD static float dt(float x, float t, Extra e) { return -dx(x, t, e); }
};

// Of probabilities; logarithms end at -100, as in PyTorch.
struct Bce {
  FUSED_RNN_HD static float log_of(float x) {
    const float y = log_(x);
    return y < -100 ? -100.0f : y;
  }
  FUSED_RNN_HD static float loss(float x, float t, Extra e) {
    return -e.weight * (t * log_of(x) + (1 - t) * log_of(1 - x));
  }
  FUSED_RNN_HD static float dx(float x, float t, Extra e) {
    const float product = (1 - x) * x;
    return e.weight * (x - t) / (product < 1e-12f ? 1e-12f : product);
  }
  FUSED_RNN_HD static float dt(float x, float, Extra e) {
    return e.weight * (log_of(1 - x) - log_of(x));
  }
};

// x is the logarithm of a probability, t a probability.
struct KlDiv {
  FUSED_RNN_HD static float loss(float x, float t, Extra) {
    return (t > 0 ? t * log_(t) : t * 0) - t * x;
  }
  FUSED_RNN_HD static float dx(float, float t, Extra) { return -t; }
  FUSED_RNN_HD static float dt(float x, float t, Extra) { return log_(t) + 1 - x; }
};

// Both are logarithms.
struct KlDivLog {
  FUSED_RNN_HD static float loss(float x, float t, Extra) { return exp_(t) * (t - x); }
  FUSED_RNN_HD static float dx(float, float t, Extra) { return -exp_(t); }
  FUSED_RNN_HD static float dt(float x, float t, Extra) { return exp_(t) * (t - x + 1); }
};

// x is the rate, option: what is added to it in the logarithm.
struct Poisson {
  FUSED_RNN_HD static float loss(float x, float t, Extra e) { return x - t * log_(x + e.option); }
  FUSED_RNN_HD static float dx(float x, float t, Extra e) { return 1 - t / (x + e.option); }
  FUSED_RNN_HD static float dt(float x, float, Extra e) { return -log_(x + e.option); }
};

// x is the rate's logarithm.
struct PoissonLog {
  FUSED_RNN_HD static float loss(float x, float t, Extra) { return exp_(x) - t * x; }
  FUSED_RNN_HD static float dx(float x, float t, Extra) { return exp_(x) - t; }
  FUSED_RNN_HD static float dt(float x, float, Extra) { return -x; }
};

// weight: the quantile that x estimates.
struct Pinball {
  FUSED_RNN_HD static float loss(float x, float t, Extra e) {
    const float d = t - x;
    return d >= 0 ? e.weight * d : (e.weight - 1) * d;
  }
  FUSED_RNN_HD static float dx(float x, float t, Extra e) {
    const float d = t - x;
    return d > 0 ? -e.weight : d < 0 ? 1 - e.weight : d;
  }
  FUSED_RNN_HD static float dt(float x, float t, Extra e) { return -dx(x, t, e); }
};

}  // namespace pair_losses

// f(the formulas of a kind)
template <class F>
void with_pair_loss(PairLoss kind, F f) {
  namespace all = pair_losses;
  switch (kind) {
    case PairLoss::mse:
      return f(all::Mse{});
    case PairLoss::bce_logits:
      return f(all::BceLogits{});
    case PairLoss::l1:
      return f(all::L1{});
    case PairLoss::smooth_l1:
      return f(all::SmoothL1{});
    case PairLoss::huber:
      return f(all::Huber{});
    case PairLoss::bce:
      return f(all::Bce{});
    case PairLoss::kl_div:
      return f(all::KlDiv{});
    case PairLoss::kl_div_log:
      return f(all::KlDivLog{});
    case PairLoss::poisson:
      return f(all::Poisson{});
    case PairLoss::poisson_log:
      return f(all::PoissonLog{});
    case PairLoss::pinball:
      return f(all::Pinball{});
  }
}

#if defined(FUSED_RNN_ISA)
}  // namespace FUSED_RNN_ISA
#endif
}  // namespace fused_rnn
