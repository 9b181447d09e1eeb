// A recurrent call, forward and backward, on one side of a test.
#pragma once

#include <cmath>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "cells/weights.h"
#include "ops/cuda.h"
#include "test/backends.h"

namespace fused_rnn::test {

struct RnnCase {
  std::string name;
  CellKind cell;
  int64_t layers, directions, input, hidden, proj;
  bool bias;
  std::vector<int32_t> sizes;  // of the batch, by step
  bool states;                 // h0 and c0 are given, and gradients of the last states
  float dropout = 0;
  bool one_hot = false;
  bool keep = true;         // a workspace, and the backward pass
  bool some_grads = false;  // only every other gradient is wanted
  bool no_dy = false;       // gradients come from the last states alone
  // RnnStepOptions: each given or not; zoneout as it is drawn, or its expectation.
  enum class Zoneout { none, drawn, expected };
  bool drops_h = false, reset = false, mask = false;
  Zoneout zoneout = Zoneout::none;
  Fp32Precision precision = Fp32Precision::ieee;  // of CUDA; the CPU's is its own
};

inline bool has_norms(CellKind cell) { return traits_of(cell).norms; }
inline bool has_c(CellKind cell) { return traits_of(cell).has_c; }

// What a pass reads, and what it writes in one round.
class RnnRun {
 public:
  RnnRun(const RnnCase& c, Side& side) : c_(c), s_(side) {
    const int64_t n = c.sizes.front();
    int64_t rows = 0;
    for (const int32_t size : c.sizes) rows += size;
    shape_ = {c.cell, c.layers, c.directions,   static_cast<int64_t>(c.sizes.size()),
              n,      rows,     c.input,        c.hidden,
              c.proj, c.bias,   c_.sizes.data()};
    has_c_ = has_c(c.cell);
    const double rounding = rounding_of(c.precision);
    forward_ = 2e-5 * rounding;
    backward_ = (has_norms(c.cell) ? 3e-4 : 1e-4) * rounding;
    const int64_t p = shape_.out(), stacks = c.layers * c.directions;
    for (int64_t i = 0; i < stacks; ++i) {
      RnnWeights& weights = weights_.emplace_back();
      for (const CellWeight& weight : weights_of(c.cell)) {
        if (!has_weight(shape_, weight)) continue;
        weights.*weight.value = draw(weight, weight_floats(shape_, i / c.directions, weight));
      }
    }
    if (c.one_hot) {
      x_.index = side.integers(rows, 0, static_cast<int32_t>(c.input));
    } else {
      x_.values = side.floats(rows * c.input);
    }
    h_floats_ = stacks * n * p;
    c_floats_ = stacks * n * c.hidden * traits_of(c.cell).states;
    if (c.states) {
      h0_ = side.floats(h_floats_);
      dhn_ = side.floats(h_floats_);
      // Of several states one divides, so it is not to be near 0.
      const float least = traits_of(c.cell).states > 1 ? 0.5f : -1;
      if (has_c_) c0_ = side.floats(c_floats_, least, 1), dcn_ = side.floats(c_floats_);
    }
    if (!c.no_dy) dy_ = side.floats(rows * c.directions * p);
    draw_options(rows);
    if (c.keep) workspace_ = scratch(side.backend.rnn_workspace_floats(shape_));
  }

  struct Results {
    float *y, *hn, *cn, *dx, *dh0, *dc0;
    std::vector<RnnWeightGrads> grads;
  };
  Results results() {
    Results r{};
    const int64_t p = shape_.out();
    r.y = out("y", shape_.rows * c_.directions * p, forward_);
    r.hn = out("hn", h_floats_, forward_);
    r.cn = has_c_ ? out("cn", c_floats_, forward_) : nullptr;
    if (!c_.keep) return r;
    const bool some = c_.some_grads;
    r.dx = c_.one_hot || some ? nullptr : out("dx", shape_.rows * c_.input, backward_);
    if (c_.states) {
      r.dh0 = some ? nullptr : out("dh0", h_floats_, backward_);
      r.dc0 = has_c_ ? out("dc0", c_floats_, backward_) : nullptr;
    }
    for (size_t i = 0; i < weights_.size(); ++i) {
      RnnWeightGrads& grads = r.grads.emplace_back();
      for (const CellWeight& weight : weights_of(c_.cell)) {
        const std::string name = weight.name;
        const bool wanted =
            !some || name.ends_with("_hh") || name == "bias_c" || name == "weight_cf";
        if (!wanted || !has_weight(shape_, weight)) continue;
        const auto layer = static_cast<int64_t>(i) / c_.directions;
        grads.*weight.gradient = out("d" + name, weight_floats(shape_, layer, weight), backward_);
      }
    }
    return r;
  }

  void run(const Results& r) {
    if (s_.context.device != nullptr) {
      set_cuda_precision(*s_.context.device, {c_.precision, c_.precision});
    }
    const RnnDropout dropout{c_.dropout, 1234567, 89};
    s_.backend.rnn_forward({.shape = shape_,
                            .weights = weights_.data(),
                            .x = x_,
                            .h0 = h0_,
                            .c0 = c0_,
                            .dropout = dropout,
                            .y = r.y,
                            .hn = r.hn,
                            .cn = r.cn,
                            .workspace = workspace_,
                            .options = options_},
                           s_.context);
    if (!c_.keep) return;
    s_.backend.rnn_backward({.shape = shape_,
                             .weights = weights_.data(),
                             .x = x_,
                             .dropout = dropout,
                             .workspace = workspace_,
                             .dy = dy_,
                             .dhn = dhn_,
                             .dcn = dcn_,
                             .dx = r.dx,
                             .dh0 = r.dh0,
                             .dc0 = r.dc0,
                             .grads = r.grads.data(),
                             .options = options_},
                            s_.context);
  }

  // As before anything was written.
  void clear() {
    for (const auto& [data, n] : written_) {
      s_.backend.fill({data, n, std::numeric_limits<float>::quiet_NaN()}, s_.context);
    }
  }
  void forget() { written_.clear(); }

 private:
  void draw_options(int64_t rows) {
    const int64_t stacks = c_.layers * c_.directions;
    if (c_.drops_h) options_.h_factor = s_.floats(h_floats_, 0, 1.5f);
    if (c_.zoneout == RnnCase::Zoneout::drawn) {
      options_.keep_h = s_.booleans(stacks * rows * shape_.out());
      if (has_c_) options_.keep_c = s_.booleans(stacks * rows * c_.hidden);
    } else if (c_.zoneout == RnnCase::Zoneout::expected) {
      options_.part_h = 0.2f;
      if (has_c_) options_.part_c = 0.3f;
    }
    if (c_.reset) options_.reset = s_.booleans(rows);
    if (c_.mask) options_.mask = s_.booleans(rows);
    shape_.options = options_.any();
    shape_.drops_h = c_.drops_h;
  }

  // How much further from the CPU's numbers than float32's: 10 bits behind the point, or 7.
  static double rounding_of(Fp32Precision precision) {
    switch (precision) {
      case Fp32Precision::ieee:
        return 1;
      case Fp32Precision::tf32:
        return 100;
      default:
        return 400;
    }
  }

  // So that no state grows from step to step: small weights, or, where norms undo that, small
  // gains.
  const float* draw(const CellWeight& weight, int64_t n) {
    const std::string name = weight.name;
    if (name == "gain_ih") return s_.floats(n, 0.3f, 0.7f);
    if (name == "gain_hh") return s_.floats(n, 0.1f, 0.4f);
    if (name == "gain_c") return s_.floats(n, 0.5f, 1);
    if (weight.bias) return s_.floats(n);
    const float bound = 1 / std::sqrt(static_cast<float>(c_.hidden));
    return s_.floats(n, -bound, bound);
  }
  float* out(const std::string& name, int64_t n, double tolerance) {
    float* data = s_.output(name.c_str(), n, tolerance);
    written_.emplace_back(data, n);
    return data;
  }
  float* scratch(int64_t n) {
    return s_.values(
        std::vector<float>(static_cast<size_t>(n), std::numeric_limits<float>::quiet_NaN()));
  }

  const RnnCase& c_;
  Side& s_;
  RnnShape shape_{};
  bool has_c_;
  // Norms of rows of few units amplify how the two sides round.
  double forward_, backward_;
  std::vector<RnnWeights> weights_;
  RnnInput x_{};
  int64_t h_floats_, c_floats_;
  const float *h0_ = nullptr, *c0_ = nullptr, *dy_ = nullptr, *dhn_ = nullptr, *dcn_ = nullptr;
  float* workspace_ = nullptr;
  RnnStepOptions options_;
  std::vector<std::pair<float*, int64_t>> written_;
};

// Three rounds: the first of a shape, one with other memory, and that one again, so that CUDA's
// work is queued, captured and replayed.
inline void add_rnn(Cases& cases, const RnnCase& c) {
  cases.add(c.name, [c](Side& side) {
    RnnRun run(c, side);
    run.run(run.results());
    run.forget();
    const RnnRun::Results results = run.results();
    run.run(results);
    run.clear();
    run.run(results);
  });
}

}  // namespace fused_rnn::test
