// models.Forecaster and models.SequenceClassifier of the npm package: loads what their save() wrote, and
// predicts what they predict, with their scalers, calibration and classes.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "fused_rnn/tensor.h"

namespace fused_rnn {

// The rows to come of one series.
struct Forecast {
  std::vector<std::string> targets;
  std::vector<double> quantiles;  // rising; 0.5 is the median
  int64_t horizon = 0;
  std::vector<double> values;  // (targets, quantiles, horizon)

  double at(size_t target, size_t quantile, size_t step) const {
    return values[(target * quantiles.size() + quantile) * static_cast<size_t>(horizon) + step];
  }
};

// A handle; copies are the same model.
class FUSED_RNN_API Forecaster {
 public:
  // Throws std::runtime_error with one line that names the folder and what is wrong.
  static Forecaster load(const Engine& engine, const std::filesystem::path& folder);

  int64_t input_size() const;  // rows that it reads
  int64_t horizon() const;     // rows that it predicts
  // Of a row of the history: the targets, then what is known up to now, then what is known of the
  // rows to come, too.
  const std::vector<std::string>& columns() const;
  const std::vector<std::string>& targets() const;
  const std::vector<std::string>& future_columns() const;
  const std::vector<double>& quantiles() const;
  // Whether predict() needs the times of the rows.
  bool needs_times() const;

  // rows: (n, columns), n at least input_size(), of which the last are read; NaN is missing. future:
  // (horizon, future_columns). times: of the n rows, milliseconds since 1970 (UTC), as learnt one
  // distance apart. Throws std::invalid_argument.
  Forecast predict(std::span<const double> rows, std::span<const double> future = {},
                   std::span<const double> times = {}) const;

 private:
  struct Impl;
  explicit Forecaster(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}
  std::shared_ptr<Impl> impl_;
};

// Which class a sequence is of.
struct Classification {
  size_t number = 0;          // of the likeliest class
  std::string label;          // its name; numbers and booleans as text
  std::vector<float> scores;  // the probability of each class
};

// A handle; copies are the same model.
class FUSED_RNN_API SequenceClassifier {
 public:
  // Throws std::runtime_error with one line that names the folder and what is wrong.
  static SequenceClassifier load(const Engine& engine, const std::filesystem::path& folder);

  const std::vector<std::string>& classes() const;
  // Numbers in a row; 0: it reads tokens.
  int64_t input_size() const;

  // rows: (n, input_size), as they were measured; n at least 1. Throws std::invalid_argument.
  Classification predict(std::span<const double> rows) const;
  // tokens: a text as the package cuts it (by default words in lower case and single marks); at least
  // one of them known. Throws std::invalid_argument.
  Classification predict(std::span<const std::string> tokens) const;

 private:
  struct Impl;
  explicit SequenceClassifier(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}
  std::shared_ptr<Impl> impl_;
};

}  // namespace fused_rnn
