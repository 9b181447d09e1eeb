// Random numbers, losses, clipping and optimisers.
#include <limits>

#include "core/empty_mean.h"
#include "test/backends.h"

namespace fused_rnn::test {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr uint64_t kSeed = 0x123456789abcdef, kCounter = 77;

void add_random(Cases& cases) {
  for (const int64_t n : {0, 1, 2, 3, 4, 5, 1000, 70001}) {
    const std::string size = " [" + std::to_string(n) + "]";
    cases.add("random" + size, [=](Side& s) {
      s.backend.random({RandomKind::uniform, s.output("uniform", n), n, -2, 3, kSeed, kCounter},
                       s.context);
      auto* booleans = reinterpret_cast<float*>(s.boolean_output("boolean", n));
      s.backend.random({RandomKind::boolean, booleans, n, 0.3f, 0, kSeed, kCounter}, s.context);
      s.backend.random({RandomKind::normal, s.output("normal", n), n, 1, 2, kSeed, kCounter},
                       s.context);
    });
    for (const float p : {0.0f, 0.3f, 1.0f}) {
      cases.add("dropout " + std::to_string(p) + size, [=](Side& s) {
        s.backend.dropout({s.output("out", n), s.floats(n), n, p, kSeed, kCounter}, s.context);
      });
    }
  }
  for (const int64_t classes : {1, 5, 64, 1000}) {
    for (const int64_t n : {0, 1, 70}) {
      const std::string shape = " [" + std::to_string(n) + ", " + std::to_string(classes) + "]";
      cases.add("one_hot" + shape, [=](Side& s) {
        const int32_t* index = s.integers(n, 0, static_cast<int32_t>(classes));
        s.backend.one_hot({s.output("out", n * classes), index, n, classes}, s.context);
        s.backend.one_hot({nullptr, index, n, classes}, s.context);
      });
      for (const float temperature : {0.0f, 0.5f, 2.0f}) {
        for (const int64_t top_k : {0, 1, 3, 40, 5000}) {
          cases.add("sample" + shape + " temperature " + std::to_string(temperature) + " top " +
                        std::to_string(top_k),
                    [=](Side& s) {
                      s.backend.sample(
                          {s.integer_output("all different", n), s.floats(n * classes, -3, 3), n,
                           classes, temperature, top_k, kSeed, kCounter},
                          s.context);
                      // Few different logits: the first of equal ones count.
                      std::vector<float> logits(static_cast<size_t>(n * classes));
                      for (size_t i = 0; i < logits.size(); ++i) {
                        logits[i] = static_cast<float>((i * 2654435761u >> 9) % 5) - 2;
                      }
                      s.backend.sample({s.integer_output("equal ones", n), s.values(logits), n,
                                        classes, temperature, top_k, kSeed, kCounter},
                                       s.context);
                    });
        }
      }
    }
  }
  cases.add(
      "one_hot of a wrong index",
      [](Side& s) {
        s.backend.one_hot({s.output("out", 12), s.values(std::vector<int32_t>{0, 3, 4, -1}), 4, 3},
                          s.context);
      },
      "[oneHot] indices[1]: expected a whole number of at least 0 and below 3, got 3");
  const auto sample = [](std::vector<float> logits) {
    return [=](Side& s) {
      const auto n = static_cast<int64_t>(logits.size() / 3);
      s.backend.sample({s.integer_output("out", n), s.values(logits), n, 3, 1, 0, kSeed, kCounter},
                       s.context);
    };
  };
  cases.add("sample of a NaN", sample({1, 2, 3, 1, kNaN, 3, kInfinity, 1, 2}),
            "[sample] logits: expected numbers, got NaN");
  cases.add("sample of infinity", sample({1, 2, 3, kInfinity, 1, 2, 1, kNaN, 3}),
            "[sample] logits: expected a finite largest logit in every row");
  cases.add("sample of nothing but -infinity", sample({-kInfinity, -kInfinity, -kInfinity}),
            "[sample] logits: expected a finite largest logit in every row");
  cases.add("sample beside -infinity", sample({-kInfinity, 1, -kInfinity, 2, -kInfinity, 2}));
}

void add_losses(Cases& cases) {
  for (const Reduction reduction : {Reduction::none, Reduction::mean, Reduction::sum}) {
    const std::string how = " reduction " + std::to_string(static_cast<int>(reduction));
    const bool none = reduction == Reduction::none;
    for (const int64_t n : {0, 1, 50, 9000}) {
      for (const int64_t classes : {1, 7, 64, 3000}) {
        if (n * classes > 200000) continue;
        for (const float smoothing : {0.0f, 0.1f}) {
          for (const bool log : {false, true}) {
            cases.add(
                "cross_entropy [" + std::to_string(n) + ", " + std::to_string(classes) + "]" + how +
                    " smoothing " + std::to_string(smoothing) + (log ? " of logarithms" : ""),
                [=](Side& s) {
                  // Label smoothing is for logits only.
                  const CrossEntropyShape shape{n,   classes,  -100, log ? 0 : smoothing,
                                                log, reduction};
                  std::vector<int32_t> target(static_cast<size_t>(n));
                  for (size_t i = 0; i < target.size(); ++i) {
                    target[i] = i % 5 == 2
                                    ? -100
                                    : static_cast<int32_t>(i * 31 % static_cast<size_t>(classes));
                  }
                  const int32_t* t = s.values(target);
                  const float* logits = s.floats(n * classes, -4, 4);
                  float* lse = s.output("lse", n);
                  s.backend.cross_entropy_forward(
                      {shape, logits, t, s.output("loss", none ? n : 1), lse}, s.context);
                  s.backend.cross_entropy_backward({shape, logits, t, lse, s.floats(none ? n : 1),
                                                    s.output("dlogits", n * classes)},
                                                   s.context);
                  const float* weight = s.floats(classes, 0.5f, 2);
                  s.backend.cross_entropy_forward(
                      {shape, logits, t, s.output("weighted", none ? n : 1), lse, weight},
                      s.context);
                  s.backend.cross_entropy_backward(
                      {shape, logits, t, lse, s.floats(none ? n : 1),
                       s.output("weighted dlogits", n * classes), weight},
                      s.context);
                });
          }
        }
      }
    }
    for (const PairLoss kind : {PairLoss::mse, PairLoss::bce_logits}) {
      for (const int64_t n : {0, 1, 700, 30000}) {
        for (int given = 0; given < 4; ++given) {
          if (kind == PairLoss::mse && given > 0) continue;
          cases.add("pair_loss " + std::to_string(static_cast<int>(kind)) + " [" +
                        std::to_string(n) + "]" + how + " given " + std::to_string(given),
                    [=](Side& s) {
                      const float *x = s.floats(n, -5, 5), *t = s.floats(n, 0, 1);
                      const float* weight = given & 1 ? s.floats(n, 0, 2) : nullptr;
                      const float* pos_weight = given & 2 ? s.floats(n, 0, 3) : nullptr;
                      const int64_t losses = none ? n : 1;
                      s.backend.pair_loss_forward(
                          {kind, reduction, n, x, t, weight, pos_weight, s.output("loss", losses)},
                          s.context);
                      const float* dloss = s.floats(losses);
                      s.backend.pair_loss_backward(
                          {kind, reduction, n, x, t, weight, pos_weight, dloss, s.output("dx", n),
                           given == 0 ? nullptr : s.output("dt", n)},
                          s.context);
                      s.backend.pair_loss_backward({kind, reduction, n, x, t, weight, pos_weight,
                                                    dloss, nullptr, s.output("dt alone", n)},
                                                   s.context);
                    });
        }
      }
    }
  }
  for (int kind = 2; kind <= static_cast<int>(PairLoss::pinball); ++kind) {
    cases.add("pair_loss " + std::to_string(kind), [=](Side& s) {
      constexpr int64_t n = 700;
      const auto loss = static_cast<PairLoss>(kind);
      const float *x = s.floats(n, 0, 1), *t = s.floats(n, 0, 1), *weight = s.floats(n, 0, 1);
      s.backend.pair_loss_forward(
          {loss, Reduction::mean, n, x, t, weight, nullptr, s.output("loss", 1), 0.5f}, s.context);
      s.backend.pair_loss_backward({loss, Reduction::none, n, x, t, weight, nullptr, s.floats(n),
                                    s.output("dx", n, 1e-4), s.output("dt", n, 1e-4), 0.5f},
                                   s.context);
    });
  }
  cases.add(
      "pair_loss of no probability",
      [](Side& s) {
        s.backend.pair_loss_forward(
            {PairLoss::bce, Reduction::mean, 3, s.values(std::vector<float>{0, 1, 1.5f}),
             s.floats(3), nullptr, nullptr, s.output("loss", 1)},
            s.context);
      },
      "[binaryCrossEntropy] input: expected probabilities, in [0, 1]");
  const auto bad = [](bool log) {
    return [=](Side& s) {
      const CrossEntropyShape shape{4, 3, -100, 0, log, Reduction::mean};
      const int32_t* target = s.values(std::vector<int32_t>{0, -100, 3, -1});
      s.backend.cross_entropy_forward(
          {shape, s.floats(12), target, s.output("loss", 1), s.output("lse", 4)}, s.context);
    };
  };
  cases.add("cross_entropy of a wrong target", bad(false),
            "[crossEntropy] target[2]: expected a whole number of at least 0 and below 3, got 3");
  cases.add("nll_loss of a wrong target", bad(true),
            "[nllLoss] target[2]: expected a whole number of at least 0 and below 3, got 3");
}

// Many tensors of few elements, some of many, and empty ones.
std::vector<int64_t> tensor_sizes(int which) {
  if (which == 0) return {};
  if (which == 1) return {7};
  std::vector<int64_t> sizes = {4096, 4097, 0, 20000, 1};
  for (int64_t i = 0; i < (which == 2 ? 20 : 700); ++i) sizes.push_back(i % 9);
  return sizes;
}

// The tensor `bad`, of many, has `value` as its last element, and later ones have NaN.
void add_not_finite(Cases& cases, const char* name, size_t bad, float value, const char* error) {
  cases.add(
      std::string("check_finite with ") + name,
      [=](Side& s) {
        const std::vector<int64_t> sizes = tensor_sizes(3);
        std::vector<const float*> all;
        for (size_t k = 0; k < sizes.size(); ++k) {
          std::vector<float> values(static_cast<size_t>(sizes[k]), 1.0f);
          if (k == bad) values.back() = value;
          if (k > bad && k % 50 == 1 && !values.empty()) values[0] = kNaN;
          if (k == bad && value != value) values[0] = kInfinity;
          all.push_back(s.values(values));
        }
        s.backend.check_finite({static_cast<int64_t>(sizes.size()), all.data(), sizes.data(), 17},
                               s.context);
      },
      error);
}

void add_optimisers(Cases& cases) {
  add_not_finite(cases, "infinity", 3, -kInfinity,
                 "[checkFinite] 17, 3: expected finite numbers, got infinity");
  add_not_finite(cases, "NaN", 604, kNaN,
                 "[checkFinite] 17, 604: expected finite numbers, got NaN");
  for (int which = 0; which < 4; ++which) {
    const std::string tensors = " of tensors " + std::to_string(which);
    const std::vector<int64_t> sizes = tensor_sizes(which);
    const auto count = static_cast<int64_t>(sizes.size());
    for (const double p : {2.0, 1.0, 3.0, -1.5, double{kInfinity}, -double{kInfinity}}) {
      for (const bool nan : {false, true}) {
        cases.add("grad_norm of p " + std::to_string(p) + (nan ? " with NaN" : "") + tensors,
                  [=](Side& s) {
                    std::vector<const float*> grads;
                    for (const int64_t n : sizes) {
                      grads.push_back(nan && n == 7
                                          ? s.values(std::vector<float>{1, 2, kNaN, 4, 5, 6, 7})
                                          : s.floats(n));
                    }
                    s.backend.grad_norm({count, grads.data(), sizes.data(), p, s.output("norm", 1)},
                                        s.context);
                  });
      }
    }
    cases.add("check_finite of the mean over nothing" + tensors, [=](Side& s) {
      std::vector<const float*> all = {s.values(std::vector<float>{-empty_mean()})};
      std::vector<int64_t> lengths = {1};
      for (const int64_t n : sizes) {
        all.push_back(s.floats(n));
        lengths.push_back(n);
      }
      s.backend.check_finite({count + 1, all.data(), lengths.data(), 5}, s.context);
    });
    cases.add("check_finite" + tensors, [=](Side& s) {
      std::vector<const float*> all;
      for (const int64_t n : sizes) all.push_back(s.floats(n));
      s.backend.check_finite({count, all.data(), sizes.data(), 5}, s.context);
    });
    // 0: none, 1: scaled by a given norm, 2: and clamped, 3: by its own, 4: by one below the limit
    for (int clipping = 0; clipping < 5; ++clipping) {
      const auto clip = [=](Side& s) {
        Clip clip{nullptr, clipping == 3, 0.5f, clipping == 2 ? 0.01f : kInfinity};
        if (clipping == 1 || clipping == 2) clip.norm = s.values(std::vector<float>{2});
        if (clipping == 4) clip.norm = s.values(std::vector<float>{0.1f});
        return clip;
      };
      const std::string how = " clipping " + std::to_string(clipping) + tensors;
      cases.add("clip_grads" + how, [=](Side& s) {
        std::vector<float*> grads;
        for (const int64_t n : sizes) grads.push_back(s.expect("grad", s.floats(n), n));
        s.backend.clip_grads({count, grads.data(), sizes.data(), clip(s)}, s.context);
      });
      for (int option = 0; option < 4; ++option) {
        cases.add("sgd option " + std::to_string(option) + how, [=](Side& s) {
          std::vector<SgdTensor> all;
          for (const int64_t n : sizes) {
            float* buffer = option == 0 ? nullptr : s.expect("buffer", s.floats(n), n);
            all.push_back({n, s.expect("param", s.floats(n), n), s.floats(n), buffer, option == 3});
          }
          s.backend.sgd(
              {count, all.data(), clip(s), 0.1f, 0.9f, 0.25f, 0.01f, option == 2, option == 1},
              s.context);
        });
        cases.add("adam option " + std::to_string(option) + how, [=](Side& s) {
          std::vector<AdamTensor> all;
          for (const int64_t n : sizes) {
            all.push_back({n, s.expect("param", s.floats(n), n), s.floats(n),
                           s.expect("m", s.floats(n), n), s.expect("v", s.floats(n, 0, 1), n),
                           option & 1 ? s.expect("v_max", s.floats(n, 0, 1), n) : nullptr, 0.01f,
                           1.5f});
          }
          s.backend.adam(
              {count, all.data(), clip(s), 0.1f, 0.999f, 0.001f, 1e-8f, 0.02f, 0.99f, option >= 2},
              s.context);
        });
      }
      for (int k = 0; k < kUpdateRuleCount; ++k) {
        const auto rule = static_cast<UpdateRule>(k);
        cases.add(kUpdateRules[k].name + (" rule " + std::to_string(k) + how), [=](Side& s) {
          std::vector<UpdateTensor> all;
          for (const int64_t n : sizes) {
            UpdateTensor t{n, s.expect("param", s.floats(n), n), s.floats(n), {}, {}};
            for (int j = 0; j < states_of(rule); ++j) {
              // Squares above the means of gradients, as they are in fact.
              const bool square = j == 0 && k <= static_cast<int>(UpdateRule::adadelta);
              float* state = square ? s.floats(n, 1, 2) : s.floats(n, 0.1f, 0.9f);
              t.state[j] = s.expect("state", state, n);
            }
            t.numbers[0] = 0.1f, t.numbers[1] = 0.9f, t.numbers[2] = 0.5f;
            all.push_back(t);
          }
          s.backend.optimizer_step({count,
                                    all.data(),
                                    clip(s),
                                    rule,
                                    {0.75f, 0.9f, 0.25f, 0.5f, 0.1f},
                                    0.02f,
                                    0.99f,
                                    k % 2 == 1},
                                   s.context);
        });
      }
    }
  }
  // Gradients of some rows: how often each row of a table of 40 by `width` is there, up to once; one
  // is absent, one not in the table.
  for (int k = 0; k < kUpdateRuleCount; ++k) {
    for (const int64_t width : {1, 3, 64, 5000}) {
      const auto rule = static_cast<UpdateRule>(k);
      const auto table = [=](Side& s, int64_t count, std::vector<int32_t> rows) {
        const int64_t n = 40 * width;
        UpdateTensor t{width * count,
                       s.expect("param", s.floats(n), n),
                       s.floats(width * count),
                       {},
                       {0.1f, 0.9f, 0.5f},
                       s.values(rows),
                       width,
                       40};
        for (int j = 0; j < states_of(rule); ++j) {
          const bool square = j == 0 && k <= static_cast<int>(UpdateRule::adadelta);
          float* state = square ? s.floats(n, 1, 2) : s.floats(n, 0.1f, 0.9f);
          t.state[j] = s.expect("state", state, n);
        }
        return t;
      };
      cases.add(std::string(kUpdateRules[k].name) + " of rows, rule " + std::to_string(k) +
                    ", width " + std::to_string(width),
                [=](Side& s) {
                  const UpdateTensor all[] = {table(s, 5, {2, 39, -1, 7, 40}), table(s, 1, {0})};
                  s.backend.optimizer_step({2,
                                            all,
                                            {nullptr, true, 0.5f, 0.05f},
                                            rule,
                                            {0.75f, 0.9f, 0.25f, 0.5f, 0.1f},
                                            0.02f,
                                            0.99f,
                                            k % 2 == 1},
                                           s.context);
                });
    }
  }
}

}  // namespace

void add_training_cases(Cases& cases) {
  add_random(cases);
  add_losses(cases);
  add_optimisers(cases);
}

}  // namespace fused_rnn::test
