// models.LanguageModel of the npm package: loads what its save() wrote, runs it step by step,
// trains it further, and saves it for the package to load.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "fused_rnn/layers.h"

namespace fused_rnn {

struct LanguageModelConfig {
  int64_t vocab_size;
  int64_t embedding_size;  // 0: the layers read one-hot vectors
  int64_t hidden_size;
  int64_t num_layers;
  std::string cell;          // "rnn", "gru", "lstm" and so on, as the option `cell` in TypeScript
  std::string nonlinearity;  // of the cell "rnn": "tanh", "relu"
  double dropout;            // in training_step()
  bool tie_weights;
};

struct GenerateOptions {
  double temperature = 1;  // 0: always the likeliest
  int64_t top_k = 0;       // 0: among all
  uint64_t seed = 0;
  // Tokens that are never chosen. Absent: the vocabulary's unknown token, if it has one.
  std::optional<std::vector<int32_t>> forbidden = std::nullopt;
};

// A handle; copies are the same model.
class FUSED_RNN_API LanguageModel {
 public:
  // From a folder with model.safetensors, config.json and perhaps vocabulary.json. Throws
  // std::runtime_error with one line that names the folder and what is wrong.
  static LanguageModel load(const Engine& engine, const std::filesystem::path& folder);
  // Writes the same files; makes the folder if needed.
  void save(const std::filesystem::path& folder) const;

  const LanguageModelConfig& config() const;
  // The tokens in the order of their numbers; empty where none were saved.
  const std::vector<std::string>& tokens() const;
  // A token's number, or the unknown token's. Throws std::invalid_argument where there is neither.
  int32_t index_of(const std::string& token) const;
  // encoder.weight, rnn.weight_ih_l0, ..., decoder.weight, decoder.bias
  const Parameters& parameters() const;

  // tokens: int32 (T, B). -> logits (T * B, vocab_size), row t * B + b for token [t, b]. `state` is
  // where it begins (none: zeros), and afterwards where it has come to. No dropout.
  Tensor forward(const Tensor& tokens, RecurrentState& state) const;
  // One token further, in one text: the logits of what comes next.
  std::vector<float> step(int32_t token, RecurrentState& state) const;

  // Forward with dropout, the mean cross entropy, and backward: gradients are added to the
  // parameters'. input, target: int32 (T, B). `state` as in forward(). -> the loss.
  Tensor training_step(const Tensor& input, const Tensor& target, RecurrentState& state);

  // Tokens that go on after a prefix, one with each next(); the ones that the package's generate()
  // gives for the same seed. The model may be trained in between.
  class FUSED_RNN_API Generation {
   public:
    int32_t next();

   private:
    friend class LanguageModel;
    Generation(const LanguageModel& model, std::vector<int32_t> prefix,
               const GenerateOptions& options);
    std::shared_ptr<const LanguageModel> model_;
    Tensor input_;
    RecurrentState state_;
    GenerateOptions options_;
    uint64_t counter_ = 0;
  };
  Generation generate(std::vector<int32_t> prefix, const GenerateOptions& options = {}) const;

 private:
  struct Impl;
  explicit LanguageModel(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}
  std::shared_ptr<Impl> impl_;
};

}  // namespace fused_rnn
