// What an optimiser does to one element of a parameter, for the CPU and for GPUs; the formulas are
// those of torch.optim. native/ops/ops_training.h says how they are called.
//
// Included inside the namespace of an instruction set (cpu/isa.h), so that copies compiled with
// different flags never mix.
#pragma once

#include <math.h>

#include "core/random.h"  // FUSED_RNN_HD
#include "ops/ops.h"

namespace fused_rnn {
#if defined(FUSED_RNN_ISA)
namespace FUSED_RNN_ISA {
#endif

// A rule is made of the options of its group, `c`, and of what depends on a tensor's number of
// steps, `t`. It gets the gradient (clipped, with weight decay), changes the parameter p, and keeps
// kStates numbers of each element in s.

// Hinton 2012. s: the running mean of squares, then that of gradients if centered, then the
// momentum buffer.
template <bool centered, bool momentum>
struct RmspropRule {
  static constexpr int kStates = 1 + centered + momentum;
  float alpha, one_minus_alpha, eps, factor, lr;
  FUSED_RNN_HD RmspropRule(const float* c, const float*)
      : alpha(c[0]), one_minus_alpha(c[1]), eps(c[2]), factor(c[3]), lr(c[4]) {}
  FUSED_RNN_HD void operator()(float& p, float g, float* s) const {
    s[0] = alpha * s[0] + one_minus_alpha * g * g;
    float square = s[0];
    if constexpr (centered) {
      s[1] += one_minus_alpha * (g - s[1]);
      square -= s[1] * s[1];
    }
    float step = g / (sqrtf(square) + eps);
    if constexpr (momentum) {
      float& buffer = s[kStates - 1];
      step = buffer = factor * buffer + step;
    }
    p -= lr * step;
  }
};

// Duchi, Hazan & Singer 2011. s: the sum of squares.
struct AdagradRule {
  static constexpr int kStates = states_of(UpdateRule::adagrad);
  float eps, lr;  // the rate of this step
  FUSED_RNN_HD AdagradRule(const float* c, const float* t) : eps(c[0]), lr(t[0]) {}
  FUSED_RNN_HD void operator()(float& p, float g, float* s) const {
    s[0] += g * g;
    p -= lr * g / (sqrtf(s[0]) + eps);
  }
};

// Zeiler 2012. s: the running means of squares of gradients and of updates.
struct AdadeltaRule {
  static constexpr int kStates = states_of(UpdateRule::adadelta);
  float rho, one_minus_rho, eps, lr;
  FUSED_RNN_HD AdadeltaRule(const float* c, const float*)
      : rho(c[0]), one_minus_rho(c[1]), eps(c[2]), lr(c[3]) {}
  FUSED_RNN_HD void operator()(float& p, float g, float* s) const {
    s[0] = rho * s[0] + one_minus_rho * g * g;
    const float step = sqrtf(s[1] + eps) / sqrtf(s[0] + eps) * g;
    s[1] = rho * s[1] + one_minus_rho * step * step;
    p -= lr * step;
  }
};

// Kingma & Ba 2015, section 7.1. s: the running mean of gradients, and their largest magnitude.
struct AdamaxRule {
  static constexpr int kStates = states_of(UpdateRule::adamax);
  float one_minus_beta1, beta2, eps, step_size;
  FUSED_RNN_HD AdamaxRule(const float* c, const float* t)
      : one_minus_beta1(c[0]), beta2(c[1]), eps(c[2]), step_size(t[0]) {}
  FUSED_RNN_HD void operator()(float& p, float g, float* s) const {
    s[0] += one_minus_beta1 * (g - s[0]);
    const float before = beta2 * s[1], now = fabsf(g) + eps;
    s[1] = before > now || before != before ? before : now;  // NaN when either is
    p -= step_size * s[0] / s[1];
  }
};

// Dozat 2016. s: the running means of gradients and of their squares.
struct NadamRule {
  static constexpr int kStates = states_of(UpdateRule::nadam);
  float one_minus_beta1, beta2, one_minus_beta2, eps, gradient_step, mean_step, v_scale;
  FUSED_RNN_HD NadamRule(const float* c, const float* t)
      : one_minus_beta1(c[0]),
        beta2(c[1]),
        one_minus_beta2(c[2]),
        eps(c[3]),
        gradient_step(t[0]),
        mean_step(t[1]),
        v_scale(t[2]) {}
  FUSED_RNN_HD void operator()(float& p, float g, float* s) const {
    s[0] += one_minus_beta1 * (g - s[0]);
    s[1] = beta2 * s[1] + one_minus_beta2 * g * g;
    p -= (gradient_step * g + mean_step * s[0]) / (sqrtf(s[1]) * v_scale + eps);
  }
};

// Liu et al. 2020. s: as Nadam's. Before the variance is known well enough, rectify is 0 and the
// step is not divided by its root.
struct RadamRule {
  static constexpr int kStates = states_of(UpdateRule::radam);
  float one_minus_beta1, beta2, one_minus_beta2, eps, step_size, rectify;
  FUSED_RNN_HD RadamRule(const float* c, const float* t)
      : one_minus_beta1(c[0]),
        beta2(c[1]),
        one_minus_beta2(c[2]),
        eps(c[3]),
        step_size(t[0]),
        rectify(t[1]) {}
  FUSED_RNN_HD void operator()(float& p, float g, float* s) const {
    s[0] += one_minus_beta1 * (g - s[0]);
    s[1] = beta2 * s[1] + one_minus_beta2 * g * g;
    const float step = step_size * s[0];
    p -= rectify > 0 ? step * rectify / (sqrtf(s[1]) + eps) : step;
  }
};

// Polyak & Juditsky 1992. s: the average of the parameter.
struct AsgdRule {
  static constexpr int kStates = states_of(UpdateRule::asgd);
  float eta, shrink, mu;
  FUSED_RNN_HD AsgdRule(const float*, const float* t) : eta(t[0]), shrink(t[1]), mu(t[2]) {}
  FUSED_RNN_HD void operator()(float& p, float g, float* s) const {
    p = shrink * p - eta * g;
    s[0] = mu == 1 ? p : s[0] + mu * (p - s[0]);
  }
};

// Riedmiller & Braun 1993. s: the gradient before, and the step's size.
struct RpropRule {
  static constexpr int kStates = states_of(UpdateRule::rprop);
  float eta_minus, eta_plus, smallest, largest;
  FUSED_RNN_HD RpropRule(const float* c, const float*)
      : eta_minus(c[0]), eta_plus(c[1]), smallest(c[2]), largest(c[3]) {}
  FUSED_RNN_HD void operator()(float& p, float g, float* s) const {
    const float turn = g * s[0];
    float size = s[1] * (turn > 0 ? eta_plus : turn < 0 ? eta_minus : 1.0f);
    size = size < smallest ? smallest : size;
    size = size > largest ? largest : size;
    g = turn < 0 ? 0.0f : g;
    p -= g > 0 ? size : g < 0 ? -size : 0.0f;
    s[0] = g;
    s[1] = size;
  }
};

struct SgdRule {
  static constexpr int kStates = states_of(UpdateRule::sgd);
  float lr;
  FUSED_RNN_HD SgdRule(const float* c, const float*) : lr(c[0]) {}
  FUSED_RNN_HD void operator()(float& p, float g, float*) const { p -= lr * g; }
};

// torch.optim.SparseAdam: unlike Adam's, the root of squares is not corrected before eps is added.
// s: the running means of gradients and of their squares.
struct SparseAdamRule {
  static constexpr int kStates = states_of(UpdateRule::sparse_adam);
  float one_minus_beta1, one_minus_beta2, eps, step_size;
  FUSED_RNN_HD SparseAdamRule(const float* c, const float* t)
      : one_minus_beta1(c[0]), one_minus_beta2(c[1]), eps(c[2]), step_size(t[0]) {}
  FUSED_RNN_HD void operator()(float& p, float g, float* s) const {
    s[0] += one_minus_beta1 * (g - s[0]);
    s[1] += one_minus_beta2 * (g * g - s[1]);
    p -= step_size * s[0] / (sqrtf(s[1]) + eps);
  }
};

// Calls f.template operator()<Rule>() for the rule of that number.
template <class F>
void with_rule(UpdateRule rule, F f) {
  switch (rule) {
    case UpdateRule::rmsprop:
      return f.template operator()<RmspropRule<false, false>>();
    case UpdateRule::rmsprop_momentum:
      return f.template operator()<RmspropRule<false, true>>();
    case UpdateRule::rmsprop_centered:
      return f.template operator()<RmspropRule<true, false>>();
    case UpdateRule::rmsprop_centered_momentum:
      return f.template operator()<RmspropRule<true, true>>();
    case UpdateRule::adagrad:
      return f.template operator()<AdagradRule>();
    case UpdateRule::adadelta:
      return f.template operator()<AdadeltaRule>();
    case UpdateRule::adamax:
      return f.template operator()<AdamaxRule>();
    case UpdateRule::nadam:
      return f.template operator()<NadamRule>();
    case UpdateRule::radam:
      return f.template operator()<RadamRule>();
    case UpdateRule::asgd:
      return f.template operator()<AsgdRule>();
    case UpdateRule::rprop:
      return f.template operator()<RpropRule>();
    case UpdateRule::sgd:
      return f.template operator()<SgdRule>();
    case UpdateRule::sparse_adam:
      return f.template operator()<SparseAdamRule>();
  }
}

#if defined(FUSED_RNN_ISA)
}  // namespace FUSED_RNN_ISA
#endif
}  // namespace fused_rnn
