// A language model as files in a folder; ts/models/model_folder.ts says how they belong together.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "fused_rnn/language_model.h"

namespace fused_rnn {

struct ModelFolder {
  LanguageModelConfig config;
  std::vector<std::string> tokens;           // empty: no vocabulary
  int32_t unknown = -1;                      // the unknown token's number, or -1
  std::string config_text, vocabulary_text;  // as they were read
  std::string id;                            // that the files have in common; empty: none
  std::string mixed;  // why they do not belong together; empty: they do, as far as they say
};

// Throws std::runtime_error that names the file and what is wrong.
std::pair<ModelFolder, std::map<std::string, Tensor>> read_model_folder(
    const Engine& engine, const std::filesystem::path& folder);
void write_model_folder(const std::filesystem::path& folder, const ModelFolder& files,
                        std::map<std::string, Tensor> weights);

}  // namespace fused_rnn
