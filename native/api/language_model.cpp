// The counterpart of ts/models: the same operations in the same order, so that the numbers are the
// same, dropout's too.
#include "fused_rnn/language_model.h"

#include <algorithm>
#include <limits>
#include <optional>
#include <set>
#include <stdexcept>
#include <unordered_map>

#include "api/internal.h"
#include "api/model_cells.h"
#include "api/model_folder.h"

namespace fused_rnn {

struct LanguageModel::Impl {
  Impl(const Engine& engine, ModelFolder folder)
      : engine(engine),
        files(std::move(folder)),
        decoder(engine, files.config.hidden_size, files.config.vocab_size) {
    const LanguageModelConfig& c = files.config;
    if (c.embedding_size > 0) encoder.emplace(engine, c.vocab_size, c.embedding_size);
    const int64_t input = c.embedding_size > 0 ? c.embedding_size : c.vocab_size;
    RecurrentOptions options;
    options.num_layers = c.num_layers;
    options.dropout = c.num_layers > 1 ? static_cast<float>(c.dropout) : 0;
    rnn.emplace(
        make_cell(engine, c.cell, input, c.hidden_size, options,
                  c.nonlinearity == "relu" ? RNN::Nonlinearity::relu : RNN::Nonlinearity::tanh));
    if (c.tie_weights) decoder.tie_weight(encoder->parameters()[0].second);
    const auto add = [&](const std::string& module, const Parameters& of) {
      for (const auto& [name, parameter] : of) {
        const auto known = std::find_if(parameters.begin(), parameters.end(),
                                        [&](const auto& p) { return p.second == parameter; });
        if (known == parameters.end()) parameters.emplace_back(module + "." + name, parameter);
      }
    };
    if (encoder) add("encoder", encoder->parameters());
    add("rnn", rnn->parameters());
    add("decoder", decoder.parameters());
    for (size_t i = 0; i < files.tokens.size(); ++i) {
      numbers.emplace(files.tokens[i], static_cast<int32_t>(i));
    }
  }

  // What every name of a state dict stands for; a tied one has two.
  std::vector<std::pair<std::string, std::shared_ptr<Parameter>>> state_dict() const {
    auto all = parameters;
    if (files.config.tie_weights)
      all.emplace_back("decoder.weight", decoder.parameters()[0].second);
    return all;
  }

  Tensor embed(const Tensor& tokens) const {
    if (encoder) return encoder->forward(tokens);
    const int64_t classes = files.config.vocab_size;
    const Buffer rows = one_hot(engine.impl().executor, buffer_of(tokens), classes);
    return wrap(engine.shared(), rows, {tokens.shape()[0], tokens.shape()[1], classes});
  }

  Engine engine;
  ModelFolder files;
  std::optional<Embedding> encoder;
  std::optional<Recurrent> rnn;
  Linear decoder;
  Parameters parameters;
  std::unordered_map<std::string, int32_t> numbers;
};

namespace {

void check_tokens(const std::string& function, const std::string& name, const Tensor& tokens,
                  const Engine& engine) {
  check_tensor(function, name, tokens, engine, DType::int32);
  if (tokens.shape().size() != 2) {
    refuse(function, name, "shape (T, B)", text_of(tokens.shape()));
  }
}

// Dropout with what its backward needs to draw the same mask again.
class Drop {
 public:
  Drop(const Engine& engine, double p) : engine_(engine), p_(static_cast<float>(p)) {
    if (p_ > 0) stream_ = engine.impl().next_random();
  }
  Tensor operator()(const Tensor& x) const {
    if (p_ == 0) return x;
    return wrap(engine_.shared(), dropout(engine_.impl().executor, buffer_of(x), p_, stream_),
                x.shape());
  }

 private:
  const Engine& engine_;
  float p_;
  RandomStream stream_{};
};

}  // namespace

LanguageModel LanguageModel::load(const Engine& engine, const std::filesystem::path& folder) {
  try {
    auto [files, weights] = read_model_folder(engine, folder);
    auto impl = std::make_shared<Impl>(engine, std::move(files));
    for (auto& [name, parameter] : impl->state_dict()) {
      const auto found = weights.find(name);
      if (found == weights.end()) throw std::runtime_error("there is no '" + name + "'");
      check_shape("load", "'" + name + "'", found->second, engine, parameter->value.shape());
      parameter->value = found->second;
      weights.erase(found);
    }
    if (!weights.empty()) {
      throw std::runtime_error("'" + weights.begin()->first + "' is not this model's");
    }
    if (!impl->files.mixed.empty()) throw std::runtime_error(impl->files.mixed);
    return LanguageModel(std::move(impl));
  } catch (const std::exception& e) {
    throw std::runtime_error("[LanguageModel.load] '" + folder.string() +
                             "' does not hold a model: " + e.what());
  }
}

void LanguageModel::save(const std::filesystem::path& folder) const {
  std::map<std::string, Tensor> weights;
  for (const auto& [name, parameter] : impl_->state_dict()) weights[name] = parameter->value;
  try {
    write_model_folder(folder, impl_->files, std::move(weights));
  } catch (const std::exception& e) {
    throw std::runtime_error("[LanguageModel.save] cannot write '" + folder.string() +
                             "': " + e.what());
  }
}

const LanguageModelConfig& LanguageModel::config() const { return impl_->files.config; }
const std::vector<std::string>& LanguageModel::tokens() const { return impl_->files.tokens; }
const Parameters& LanguageModel::parameters() const { return impl_->parameters; }

int32_t LanguageModel::index_of(const std::string& token) const {
  const auto found = impl_->numbers.find(token);
  if (found != impl_->numbers.end()) return found->second;
  if (impl_->files.unknown < 0) {
    refuse("LanguageModel.index_of", "token", "a token of the vocabulary", "'" + token + "'");
  }
  return impl_->files.unknown;
}

Tensor LanguageModel::forward(const Tensor& tokens, RecurrentState& state) const {
  check_tokens("LanguageModel.forward", "tokens", tokens, impl_->engine);
  const auto [output, next] = impl_->rnn->forward(impl_->embed(tokens), state);
  const Tensor logits =
      impl_->decoder.forward(output.reshape({tokens.numel(), config().hidden_size}));
  state = next;
  return logits;
}

std::vector<float> LanguageModel::step(int32_t token, RecurrentState& state) const {
  const Tensor tokens(impl_->engine, {1, 1}, std::span<const int32_t>(&token, 1));
  RecurrentState next = state;
  std::vector<float> logits = forward(tokens, next).floats();
  state = next;
  return logits;
}

Tensor LanguageModel::training_step(const Tensor& input, const Tensor& target,
                                    RecurrentState& state) {
  const char* function = "LanguageModel.training_step";
  Impl& m = *impl_;
  check_tokens(function, "input", input, m.engine);
  check_shape(function, "target", target, m.engine, input.shape(), DType::int32);

  const Tensor embedded = m.embed(input);
  const Drop drop_input(m.engine, m.encoder ? m.files.config.dropout : 0);
  Recurrent::Saved saved_rnn;
  const auto [output, next] = m.rnn->forward(drop_input(embedded), state, &saved_rnn);
  const Drop drop_output(m.engine, m.files.config.dropout);
  const Tensor rows = drop_output(output).reshape({input.numel(), m.files.config.hidden_size});
  const Tensor logits = m.decoder.forward(rows);
  const CrossEntropyLoss cross_entropy;
  CrossEntropyLoss::Saved saved_loss;
  const Tensor loss = cross_entropy.forward(logits, target.reshape({target.numel()}), &saved_loss);

  const Tensor drows = m.decoder.backward(rows, cross_entropy.backward(saved_loss));
  const Tensor doutput = drop_output(drows).reshape(output.shape());
  const bool wanted = m.encoder.has_value();
  const Tensor dinput = m.rnn->backward(saved_rnn, doutput, {}, wanted).input;
  if (wanted) m.encoder->backward(input, drop_input(dinput));
  state = next;
  return loss;
}

LanguageModel::Generation LanguageModel::generate(std::vector<int32_t> prefix,
                                                  const GenerateOptions& options) const {
  return {*this, std::move(prefix), options};
}

LanguageModel::Generation::Generation(const LanguageModel& model, std::vector<int32_t> prefix,
                                      const GenerateOptions& options)
    : model_(std::make_shared<const LanguageModel>(model)), options_(options) {
  const char* function = "LanguageModel.generate";
  if (prefix.empty()) refuse(function, "prefix", "at least one token", "none");
  if (!(options.temperature >= 0)) {
    refuse(function, "temperature", "at least 0", std::to_string(options.temperature));
  }
  check_size(function, "top_k", options.top_k, 0);
  const int64_t classes = model.config().vocab_size;
  const auto check_tokens = [&](const char* name, const std::vector<int32_t>& tokens) {
    for (int32_t token : tokens) {
      if (token >= 0 && token < classes) continue;
      refuse(function, name, "tokens of at least 0 and below " + std::to_string(classes),
             std::to_string(token));
    }
  };
  check_tokens("prefix", prefix);
  if (!options_.forbidden) {
    const int32_t unknown = model.impl_->files.unknown;
    options_.forbidden = unknown < 0 ? std::vector<int32_t>{} : std::vector<int32_t>{unknown};
  }
  check_tokens("forbidden", *options_.forbidden);
  const std::set<int32_t> distinct(options_.forbidden->begin(), options_.forbidden->end());
  if (static_cast<int64_t>(distinct.size()) == classes) {
    refuse(function, "forbidden", "at least one token that is allowed", "all of them");
  }
  input_ = Tensor(model.impl_->engine, {static_cast<int64_t>(prefix.size()), 1}, prefix);
}

int32_t LanguageModel::Generation::next() {
  const Engine engine = input_.engine();
  const int64_t classes = model_->config().vocab_size;
  const Tensor logits = model_->forward(input_, state_);
  const int64_t rows = logits.shape()[0];
  Tensor last = logits.rows(rows - 1, rows);
  if (!options_.forbidden->empty()) {
    std::vector<float> values = last.floats();
    for (int32_t token : *options_.forbidden) {
      values[static_cast<size_t>(token)] = -std::numeric_limits<float>::infinity();
    }
    last = Tensor(engine, {1, classes}, values);
  }
  const int64_t top_k = options_.top_k == 0 ? classes : std::min(options_.top_k, classes);
  // Too small a number to divide by in float32 means the same as 0.
  const double t = options_.temperature < 1e-30 ? 0 : std::min(options_.temperature, 1e30);
  const Buffer token = sample(engine.impl().executor, buffer_of(last), 1, classes,
                              static_cast<float>(t), top_k, {options_.seed, counter_++});
  input_ = wrap(engine.shared(), token, {1, 1});
  return input_.integers()[0];
}

}  // namespace fused_rnn
