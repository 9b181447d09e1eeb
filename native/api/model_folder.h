// Models as files in a folder; ts/models/model_folder.ts says how the files belong together.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "api/json.h"
#include "fused_rnn/language_model.h"

namespace fused_rnn {

// The texts of a model of any kind.
struct ModelTexts {
  std::string config_text, vocabulary_text;  // as they were read
  std::string id;                            // that the files have in common; empty: none
  std::string mixed;  // why they do not belong together; empty: they do, as far as they say
};

// A language model.
struct ModelFolder : ModelTexts {
  LanguageModelConfig config;
  std::vector<std::string> tokens;  // empty: no vocabulary
  int32_t unknown = -1;             // the unknown token's number, or -1
};

// What a vocabulary's text says.
struct SavedTokens {
  std::vector<std::string> tokens;
  int32_t unknown = -1;  // the unknown token's number, or -1
};
SavedTokens read_tokens(const std::string& vocabulary_text);

// What is read of a folder: it throws what is wrong with it. It may be called again, when the files
// change in the meantime.
using Understand = std::function<void(const Json& config, const std::string& vocabulary_text,
                                      const std::map<std::string, Tensor>& weights)>;
// Throws std::runtime_error that names the file and what is wrong.
ModelTexts read_model_files(const Engine& engine, const std::filesystem::path& folder,
                            const std::string& kind, const Understand& understand);

// Members of a configuration. They throw std::runtime_error that names it.
[[noreturn]] void wrong(const std::string& name, const std::string& expected);
int64_t size_of(const Json& json, const char* name, int64_t least);
template <class T>
const T& member(const Json& json, const char* name, const char* expected) {
  const Json* found = json.find(name);
  const T* value = found == nullptr ? nullptr : found->as<T>();
  if (value == nullptr) wrong(name, expected);
  return *value;
}

// Throws std::runtime_error that names the file and what is wrong.
std::pair<ModelFolder, std::map<std::string, Tensor>> read_model_folder(
    const Engine& engine, const std::filesystem::path& folder);
void write_model_folder(const std::filesystem::path& folder, const ModelFolder& files,
                        std::map<std::string, Tensor> weights);

}  // namespace fused_rnn
