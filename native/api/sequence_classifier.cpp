// The counterpart of ts/models/sequence_classifier.ts for single sequences.
#include <algorithm>
#include <cmath>
#include <optional>
#include <stdexcept>
#include <unordered_map>

#include "api/internal.h"
#include "api/model_folder.h"
#include "api/task_parts.h"
#include "fused_rnn/task_models.h"

namespace fused_rnn {

struct SequenceClassifier::Impl {
  explicit Impl(const Engine& engine) : engine(engine) {}

  Engine engine;
  StackSizes sizes;
  std::string pooling;  // "concat", "last", "max", "mean"
  int64_t max_length = 0;
  std::vector<std::string> classes;
  std::vector<Scale> scales;  // none: it reads tokens
  std::unordered_map<std::string, int32_t> numbers;
  int32_t unknown = -1;
  std::optional<Embedding> embedding;
  std::optional<Recurrent> rnn;
  std::optional<Linear> head;

  Classification classify(const Tensor& steps) const;
};

namespace {

// A label as text.
std::string label_of(const Json& json) {
  if (const auto* text = json.as<std::string>()) return *text;
  if (json.as<bool>() == nullptr && json.as<double>() == nullptr) {
    wrong("state.classes", "texts, numbers or booleans");
  }
  return json_text(json);
}

}  // namespace

SequenceClassifier SequenceClassifier::load(const Engine& engine,
                                            const std::filesystem::path& folder) {
  std::shared_ptr<Impl> made;
  load_task(
      "SequenceClassifier", engine, folder,
      [&](const Json& config, const std::string& vocabulary, const Weights& all) {
        Weights weights = all;
        auto impl = std::make_shared<Impl>(engine);
        impl->sizes = stack_sizes(config);
        impl->pooling = member<std::string>(config, "pooling", "a text");
        const std::string& pooling = impl->pooling;
        if (pooling != "concat" && pooling != "last" && pooling != "max" && pooling != "mean") {
          wrong("pooling", "'concat', 'last', 'max' or 'mean', got '" + pooling + "'");
        }
        impl->max_length = size_of(config, "maxLength", 1);
        const Json& state = object_in(config, "state");
        for (const Json& one : member<Json::Array>(state, "classes", "an array of labels")) {
          impl->classes.push_back(label_of(one));
        }
        int64_t width = size_of(config, "embeddingSize", 1);
        if (vocabulary.empty()) {
          for (const Json& one : member<Json::Array>(state, "scales", "an array")) {
            impl->scales.push_back(scale_in(one, "state.scales"));
          }
          width = static_cast<int64_t>(impl->scales.size());
          if (width == 0) wrong("state.scales", "at least one column");
        } else {
          const SavedTokens saved = read_tokens(vocabulary);
          const auto count = static_cast<int64_t>(saved.tokens.size());
          check_weight(weights, "embedding.weight", {count, width});
          for (size_t i = 0; i < saved.tokens.size(); ++i) {
            impl->numbers.emplace(saved.tokens[i], static_cast<int32_t>(i));
          }
          impl->unknown = saved.unknown;
          impl->embedding.emplace(engine, count, width);
          take_weights(engine, weights, "embedding", impl->embedding->parameters());
        }
        check_stack(weights, width, impl->sizes);
        const int64_t directions = impl->sizes.bidirectional ? 2 : 1;
        const int64_t pooled = impl->sizes.hidden_size * directions * (pooling == "concat" ? 3 : 1);
        const auto classes = static_cast<int64_t>(impl->classes.size());
        check_weight(weights, "head.weight", {classes, pooled});
        impl->rnn.emplace(make_stack(engine, width, impl->sizes));
        impl->head.emplace(engine, pooled, classes);
        take_weights(engine, weights, "rnn", impl->rnn->parameters());
        take_weights(engine, weights, "head", impl->head->parameters());
        if (!weights.empty()) {
          throw std::runtime_error("'" + weights.begin()->first + "' is not this model's");
        }
        made = std::move(impl);
      });
  return SequenceClassifier(std::move(made));
}

const std::vector<std::string>& SequenceClassifier::classes() const { return impl_->classes; }
int64_t SequenceClassifier::input_size() const {
  return static_cast<int64_t>(impl_->scales.size());
}

Classification SequenceClassifier::predict(std::span<const double> rows) const {
  const char* function = "SequenceClassifier.predict";
  const auto& scales = impl_->scales;
  if (scales.empty()) refuse(function, "rows", "tokens, which this model reads", "numbers");
  const size_t width = scales.size();
  if (rows.empty() || rows.size() % width != 0) {
    refuse(function, "rows", "at least one row of " + std::to_string(width) + " numbers",
           std::to_string(rows.size()) + " numbers");
  }
  for (size_t i = 0; i < rows.size(); ++i) {
    if (std::isfinite(rows[i])) continue;
    refuse(function, "rows, row " + std::to_string(i / width), "finite numbers",
           std::to_string(rows[i]));
  }
  const size_t steps = std::min(rows.size() / width, static_cast<size_t>(impl_->max_length));
  std::vector<float> scaled(steps * width);
  for (size_t i = 0; i < scaled.size(); ++i) {
    const auto& [center, scale] = scales[i % width];
    scaled[i] = static_cast<float>((rows[i] - center) / scale);
  }
  const Shape shape = {static_cast<int64_t>(steps), 1, static_cast<int64_t>(width)};
  return impl_->classify(Tensor(impl_->engine, shape, scaled));
}

Classification SequenceClassifier::predict(std::span<const std::string> tokens) const {
  const char* function = "SequenceClassifier.predict";
  const Impl& m = *impl_;
  if (!m.embedding) refuse(function, "tokens", "rows of numbers, which this model reads", "tokens");
  if (tokens.empty()) refuse(function, "tokens", "at least one token", "none");
  std::vector<int32_t> numbers;
  bool known = false;
  for (const std::string& token : tokens) {
    const auto found = m.numbers.find(token);
    known = known || found != m.numbers.end();
    if (static_cast<int64_t>(numbers.size()) < m.max_length) {
      numbers.push_back(found == m.numbers.end() ? m.unknown : found->second);
    }
  }
  if (!known) {
    refuse(function, "tokens", "at least one token of the vocabulary",
           "only unknown ones, such as '" + tokens[0] + "'");
  }
  if (std::find(numbers.begin(), numbers.end(), -1) != numbers.end()) {
    refuse(function, "tokens", "tokens of the vocabulary, which has none for unknown ones",
           "an unknown one");
  }
  const Shape shape = {static_cast<int64_t>(numbers.size()), 1};
  return m.classify(m.embedding->forward(Tensor(m.engine, shape, numbers)));
}

// steps: (T, 1, F)
Classification SequenceClassifier::Impl::classify(const Tensor& steps) const {
  const auto [output, state] = rnn->forward(steps);
  const std::vector<float> states = output.floats();
  const std::vector<float> hidden = state.h.floats();
  const size_t width = static_cast<size_t>(output.shape()[2]);
  const size_t count = states.size() / width;
  std::vector<float> pooled;
  // The last layer's state, of both directions.
  if (pooling == "concat" || pooling == "last") {
    pooled.assign(hidden.end() - static_cast<std::ptrdiff_t>(width), hidden.end());
  }
  if (pooling == "concat" || pooling == "max") {
    for (size_t k = 0; k < width; ++k) {
      float most = states[k];
      for (size_t t = 1; t < count; ++t) most = std::max(most, states[t * width + k]);
      pooled.push_back(most);
    }
  }
  if (pooling == "concat" || pooling == "mean") {
    for (size_t k = 0; k < width; ++k) {
      double sum = 0;
      for (size_t t = 0; t < count; ++t) sum += states[t * width + k];
      pooled.push_back(static_cast<float>(sum / static_cast<double>(count)));
    }
  }
  const Shape shape = {1, static_cast<int64_t>(pooled.size())};
  const std::vector<float> logits = head->forward(Tensor(engine, shape, pooled)).floats();
  Classification result;
  const auto best = std::max_element(logits.begin(), logits.end());
  result.number = static_cast<size_t>(best - logits.begin());
  result.label = classes[result.number];
  double sum = 0;
  for (const float x : logits) sum += std::exp(static_cast<double>(x) - *best);
  for (const float x : logits) {
    result.scores.push_back(static_cast<float>(std::exp(static_cast<double>(x) - *best) / sum));
  }
  return result;
}

}  // namespace fused_rnn
