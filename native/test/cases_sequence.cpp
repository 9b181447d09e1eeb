// Sums over all paths through sequences, and layer normalisation.
#include "test/backends.h"

namespace fused_rnn::test {
namespace {

// A target of which every other label repeats the one before, no blank among them.
std::vector<int32_t> labels(int64_t n, int64_t classes, int64_t blank) {
  std::vector<int32_t> result(static_cast<size_t>(n));
  for (size_t k = 0; k < result.size(); ++k) {
    const auto label = static_cast<int32_t>((k * 7 / 3) % static_cast<size_t>(classes - 1));
    result[k] = label >= blank ? label + 1 : label;
  }
  return result;
}

struct CtcSizes {
  int64_t steps, batch, classes, width;
};

void add_ctc(Cases& cases) {
  const auto run = [](Side& s, const CtcSizes& sizes, bool flat, bool keep, bool zero,
                      int32_t wrong) {
    const auto [steps, batch, classes, width] = sizes;
    std::vector<int32_t> inputs, lengths;
    int64_t total = 0;
    for (int64_t i = 0; i < batch; ++i) {
      inputs.push_back(static_cast<int32_t>(steps - i % (steps + 1)));
      lengths.push_back(static_cast<int32_t>((width + i) % (width + 1)));
      total += lengths.back();
    }
    if (!flat) total = batch * width;
    std::vector<int32_t> target = labels(total, classes, 1);
    if (wrong >= 0) target[2] = wrong;
    const CtcShape shape{steps, batch, classes, flat ? -1 : width, total, 1, zero};
    const float* x = s.floats(steps * batch * classes, -4, 0);
    const int32_t *t = s.values(target), *in = s.values(inputs), *out = s.values(lengths);
    // Rows of several lengths leave parts of it unused.
    const std::vector<float> room(static_cast<size_t>(shape.alpha_floats()));
    float* alpha = keep ? s.values(room) : nullptr;
    s.backend.ctc_forward({shape, x, t, in, out, s.output("loss", batch), alpha}, s.context);
    if (!keep) return;
    s.backend.ctc_backward({shape, x, t, in, out, alpha, s.floats(batch),
                            s.output("dlog_probs", steps * batch * classes)},
                           s.context);
  };
  for (const CtcSizes sizes : {CtcSizes{1, 1, 2, 1}, CtcSizes{9, 3, 5, 4}, CtcSizes{40, 4, 33, 17},
                               CtcSizes{12, 2, 3, 0}, CtcSizes{300, 2, 300, 140}}) {
    for (const bool flat : {false, true}) {
      for (const bool keep : {false, true}) {
        cases.add("ctc [" + std::to_string(sizes.steps) + ", " + std::to_string(sizes.batch) +
                      ", " + std::to_string(sizes.classes) + "] " + std::to_string(sizes.width) +
                      (flat ? " flat" : "") + (keep ? " with gradient" : ""),
                  [=](Side& s) { run(s, sizes, flat, keep, keep, -1); });
      }
    }
  }
  cases.add("ctc of infinity",
            [=](Side& s) { run(s, CtcSizes{3, 4, 5, 4}, false, true, false, -1); });
  cases.add(
      "ctc of a wrong label", [=](Side& s) { run(s, CtcSizes{9, 2, 5, 4}, false, false, true, 5); },
      "[ctcLoss] targets[2]: expected a whole number of at least 0 and below 5, got 5");
  cases.add(
      "ctc of a blank", [=](Side& s) { run(s, CtcSizes{9, 2, 5, 4}, false, false, true, 1); },
      "[ctcLoss] targets: expected labels, got the blank");
}

struct CrfSizes {
  int64_t steps, batch, tags;
};

void add_crf(Cases& cases) {
  for (const CrfSizes sizes : {CrfSizes{1, 1, 1}, CrfSizes{7, 3, 5}, CrfSizes{20, 5, 33},
                               CrfSizes{4, 2, 200}, CrfSizes{3, 40, 4}}) {
    for (const bool batch_first : {false, true}) {
      for (const float scale : {1.0f, 300.0f}) {
        const auto [steps, batch, tags] = sizes;
        const CrfShape shape{steps, batch, tags, batch_first ? 1 : batch, batch_first ? steps : 1};
        cases.add(
            "crf [" + std::to_string(steps) + ", " + std::to_string(batch) + ", " +
                std::to_string(tags) + "]" + (batch_first ? " batch first" : "") +
                (scale > 1 ? " far apart" : ""),
            [=](Side& s) {
              const int64_t rows = shape.steps * shape.batch, k = shape.tags;
              std::vector<int32_t> mask(static_cast<size_t>(rows));
              for (int64_t i = 0; i < shape.batch; ++i) {
                for (int64_t step = 0; step < shape.steps; ++step) {
                  mask[static_cast<size_t>(step * shape.step_stride + i * shape.batch_stride)] =
                      step == 0 || step < shape.steps - i;
                }
              }
              const float* x = s.floats(rows * k, -scale, scale);
              const CrfWeights weights{s.floats(k), s.floats(k), s.floats(k * k, -scale, scale)};
              const int32_t* path = s.integers(rows, 0, static_cast<int32_t>(k));
              const int32_t* m = s.values(mask);
              const std::vector<float> room(static_cast<size_t>(rows * k));
              float* alpha = s.values(room);
              int32_t* lengths = s.integer_output("lengths", shape.batch);
              s.backend.crf_forward(
                  {shape, weights, x, path, m, s.output("likelihood", shape.batch), lengths, alpha},
                  s.context);
              s.backend.crf_forward(
                  {shape, weights, x, path, nullptr, s.output("without mask", shape.batch),
                   s.integer_output("all", shape.batch), nullptr},
                  s.context);
              s.backend.crf_forward(
                  {shape, weights, x, path, m, s.output("again", shape.batch), lengths, alpha},
                  s.context);
              const double tolerance = scale > 1 ? 1e-3 : Side::kTolerance;
              s.backend.crf_backward(
                  {shape, weights, x, path, lengths, alpha, s.floats(shape.batch),
                   s.output("demissions", rows * k, tolerance), s.output("dstart", k, tolerance),
                   s.output("dend", k, tolerance), s.output("dtransitions", k * k, tolerance)},
                  s.context);
              s.backend.crf_decode({shape, weights, x, m, s.integer_output("path", rows)},
                                   s.context);
            });
      }
    }
  }
  const auto masked = [](std::vector<int32_t> mask, int32_t tag) {
    return [=](Side& s) {
      const CrfShape shape{3, 2, 4, 2, 1};
      s.backend.crf_forward({shape,
                             {s.floats(4), s.floats(4), s.floats(16)},
                             s.floats(24),
                             s.values(std::vector<int32_t>{0, 1, 2, 3, 0, tag}),
                             s.values(mask),
                             s.output("likelihood", 2),
                             s.integer_output("lengths", 2),
                             nullptr},
                            s.context);
    };
  };
  cases.add("crf of a wrong tag", masked({1, 1, 1, 1, 1, 1}, 4),
            "[CRF] tags[5]: expected a whole number of at least 0 and below 4, got 4");
  cases.add("crf of a masked wrong tag", masked({1, 1, 1, 1, 1, 0}, 4));
  cases.add("crf of a mask with a hole", masked({1, 1, 1, 0, 1, 1}, 0),
            "[CRF] mask: expected ones followed by zeros in every sequence");
  cases.add("crf of an empty sequence", masked({1, 0, 1, 0, 1, 0}, 0),
            "[CRF] mask: expected the first step of every sequence to be on");
}

void add_layer_norm(Cases& cases) {
  for (const int64_t rows : {0, 1, 7, 300}) {
    for (const int64_t n : {1, 5, 64, 700}) {
      for (const bool weighted : {false, true}) {
        cases.add("layer_norm [" + std::to_string(rows) + ", " + std::to_string(n) + "]" +
                      (weighted ? " with weights" : ""),
                  [=](Side& s) {
                    const float* x = s.floats(rows * n, 1, 3);
                    const float* weight = weighted ? s.floats(n) : nullptr;
                    const float* bias = weighted ? s.floats(n) : nullptr;
                    float* mean = s.output("mean", rows);
                    float* scale = s.output("scale", rows, 1e-4);
                    s.backend.layer_norm_forward(
                        {x, weight, bias, s.output("y", rows * n), mean, scale, rows, n, 1e-3f},
                        s.context);
                    s.backend.layer_norm_backward(
                        {s.floats(rows * n), x, weight, mean, scale, s.output("dx", rows * n, 1e-4),
                         weighted ? s.output("dweight", n, 1e-4) : nullptr,
                         weighted ? s.output("dbias", n, 1e-4) : nullptr, rows, n},
                        s.context);
                  });
      }
    }
  }
}

}  // namespace

void add_sequence_cases(Cases& cases) {
  add_ctc(cases);
  add_crf(cases);
  add_layer_norm(cases);
}

}  // namespace fused_rnn::test
