// sLSTM (Beck et al. 2024, "xLSTM", section 2.2), with exponential gates, whose exponents a state m
// keeps at 0 or below, and a state n by which c is divided:
//   a = log sigmoid(f) + m(t-1)   m = max(a, i)   i' = exp(i - m)   f' = exp(a - m)
//   c = f' c(t-1) + i' tanh(z)   n = f' n(t-1) + i'   h = sigmoid(o) c / n
// i, f, z, o: pre-activations.
#pragma once

#include "cells/cell.h"

namespace fused_rnn {
#if defined(FUSED_RNN_ISA)
namespace FUSED_RNN_ISA {
#endif

struct SlstmCell : PlainCell {
  static constexpr int kGates = 4;
  static constexpr int kBlocks = 4;  // i, f, z, o; after forward i and f as they were
  static constexpr int kInputBlock = 0;
  static constexpr bool kHasC = true;
  static constexpr bool kDirectH = false;
  static constexpr int kStates = 3;  // c, n, m
  static constexpr bool kOneBias = true;
  static constexpr bool kHeads = true;
  static constexpr HiddenRun kHiddenRuns[] = {{0, 0, 4}};

  template <class F>
  FUSED_RNN_HD static void forward(F (&s)[kBlocks], const F (&c_prev)[kStates], F& h,
                                   F (&c)[kStates]) {
    F &z = s[2], &o = s[3];
    z = tanh_(z);
    o = gate_(o);
    const Exponentials<F> e(s[0], log_sigmoid_(s[1]).value, c_prev[2]);
    const Memory<F> to(e, z, c_prev);
    c[0] = to.c;
    c[1] = to.n;
    c[2] = e.above > 0 ? e.a : s[0];
    h = o * to.c * to.over_n;
  }

  template <class F>
  FUSED_RNN_HD static void backward(F (&s)[kBlocks], const F (&c_prev)[kStates], F dh,
                                    const F (&d)[kStates], F (&d_prev)[kStates]) {
    const F z = s[2], o = s[3];
    const LogSigmoid<F> log_f = log_sigmoid_(s[1]);
    const Exponentials<F> e(s[0], log_f.value, c_prev[2]);
    const Memory<F> to(e, z, c_prev);
    const F y = to.c * to.over_n, dy = dh * o;
    const F dc = d[0] + dy * to.over_n;
    const F dn = d[1] - dy * y * to.over_n;
    // Of the exponents, then of m, whose part goes to the larger of i and a, half to each of equals.
    F di = (dc * z + dn) * e.i;
    F da = (dc * c_prev[0] + dn * c_prev[1]) * e.f;
    const F dm = d[2] - di - da;
    const F to_a = (e.above > 0 ? 1.0f + F{} : e.above < 0 ? F{} : 0.5f + F{}) * dm;
    da += to_a;
    di += dm - to_a;
    s[0] = di;
    s[1] = da * log_f.derivative;
    s[2] = dc * e.i * (1.0f - z * z);
    s[3] = dh * y * o * (1.0f - o);
    d_prev[0] = dc * e.f;
    d_prev[1] = dn * e.f;
    d_prev[2] = da;
  }

 private:
  // One of the two exponents is 0.
  template <class F>
  struct Exponentials {
    F a, above;  // above: by how much a is larger than the exponent of i
    F i, f;
    FUSED_RNN_HD Exponentials(F x, F log_f, F m_prev) : a(log_f + m_prev), above(a - x) {
      const F less = exp_(-detail::magnitude(above));
      i = above > 0 ? less : 1.0f + F{};
      f = above > 0 ? 1.0f + F{} : less;
    }
  };
  template <class F>
  struct Memory {
    F c, n;
    F over_n;  // 1 / n; 0 where n is next to nothing, and so is c
    FUSED_RNN_HD Memory(const Exponentials<F>& e, F z, const F (&c_prev)[kStates])
        : c(e.f * c_prev[0] + e.i * z), n(e.f * c_prev[1] + e.i) {
      over_n = detail::magnitude(n) < 1e-36f ? F{} : 1.0f / n;
    }
  };
};

#if defined(FUSED_RNN_ISA)
}  // namespace FUSED_RNN_ISA
#endif
}  // namespace fused_rnn
