#include "api/model_folder.h"

#include <cmath>
#include <limits>
#include <stdexcept>

#include "api/files.h"
#include "api/internal.h"
#include "api/json.h"
#include "fused_rnn/safetensors.h"

namespace fused_rnn {
namespace {

namespace fs = std::filesystem;

constexpr const char* kWeights = "model.safetensors";
constexpr const char* kConfig = "config.json";
constexpr const char* kVocabulary = "vocabulary.json";

// Where a writer puts a file before the weights take their name.
fs::path beside(const fs::path& folder, const std::string& name, const std::string& id) {
  return folder / ("." + name + "." + id + ".tmp");
}

bool is_id(const std::string& text) {
  return !text.empty() && text.find_first_not_of("0123456789abcdef") == std::string::npos;
}

// The text of the file, read from beside where the writer was killed before it took its name.
std::string read_text(const fs::path& folder, const std::string& name, const std::string& id) {
  const fs::path aside = beside(folder, name, id);
  try {
    return read_file(is_id(id) && fs::exists(aside) ? aside : folder / name);
  } catch (const std::exception& e) {
    throw std::runtime_error(name + ": " + e.what());
  }
}

[[noreturn]] void wrong(const std::string& name, const std::string& expected) {
  throw std::runtime_error(std::string(kConfig) + ": " + name + ": expected " + expected);
}

template <class T>
const T& member(const Json& json, const char* name, const char* expected) {
  const Json* found = json.find(name);
  const T* value = found == nullptr ? nullptr : found->as<T>();
  if (value == nullptr) wrong(name, expected);
  return *value;
}

int64_t size_of(const Json& json, const char* name, int64_t least) {
  const auto number = member<double>(json, name, "a whole number");
  if (number != std::floor(number) || number < static_cast<double>(least) || number > 0x1p31 - 1) {
    wrong(name, "a whole number of at least " + std::to_string(least));
  }
  return static_cast<int64_t>(number);
}

LanguageModelConfig config_of(const Json& json) {
  LanguageModelConfig c;
  const Json* format = json.find("format");
  const Json* version = json.find("version");
  const std::string* name = format == nullptr ? nullptr : format->as<std::string>();
  const double* number = version == nullptr ? nullptr : version->as<double>();
  if (name == nullptr || *name != "fused-rnn LanguageModel" || number == nullptr || *number != 1) {
    throw std::runtime_error(std::string(kConfig) +
                             " does not describe a LanguageModel of version 1");
  }
  c.vocab_size = size_of(json, "vocabSize", 1);
  c.embedding_size = size_of(json, "embeddingSize", 0);
  c.hidden_size = size_of(json, "hiddenSize", 1);
  c.num_layers = size_of(json, "numLayers", 1);
  c.cell = member<std::string>(json, "cell", "'rnn', 'gru' or 'lstm'");
  if (c.cell != "rnn" && c.cell != "gru" && c.cell != "lstm") {
    wrong("cell", "'rnn', 'gru' or 'lstm', got '" + c.cell + "'");
  }
  c.nonlinearity = member<std::string>(json, "nonlinearity", "'tanh' or 'relu'");
  if (c.nonlinearity != "tanh" && c.nonlinearity != "relu") {
    wrong("nonlinearity", "'tanh' or 'relu', got '" + c.nonlinearity + "'");
  }
  c.dropout = member<double>(json, "dropout", "a number between 0 and 1");
  if (!(c.dropout >= 0 && c.dropout <= 1)) wrong("dropout", "a number between 0 and 1");
  c.tie_weights = member<bool>(json, "tieWeights", "true or false");
  if (c.tie_weights && c.embedding_size != c.hidden_size) {
    wrong("tieWeights", "embeddingSize equal to hiddenSize");
  }
  return c;
}

void read_vocabulary(ModelFolder& files) {
  const auto fail = [](const std::string& what) {
    throw std::runtime_error(std::string(kVocabulary) + ": " + what);
  };
  Json json;
  try {
    json = parse_json(files.vocabulary_text);
  } catch (const std::exception& e) {
    fail(e.what());
  }
  const Json* list = json.find("tokens");
  const auto* tokens = list == nullptr ? nullptr : list->as<Json::Array>();
  if (tokens == nullptr) fail("tokens: expected an array of strings");
  for (const Json& token : *tokens) {
    if (token.as<std::string>() == nullptr) fail("tokens: expected an array of strings");
    files.tokens.push_back(*token.as<std::string>());
  }
  if (static_cast<int64_t>(files.tokens.size()) != files.config.vocab_size) {
    fail("expected " + std::to_string(files.config.vocab_size) + " tokens (vocabSize), got " +
         std::to_string(files.tokens.size()));
  }
  const Json* unknown = json.find("unknownToken");
  const std::string* name = unknown == nullptr ? nullptr : unknown->as<std::string>();
  for (size_t i = 0; name != nullptr && i < files.tokens.size(); ++i) {
    if (files.tokens[i] == *name) files.unknown = static_cast<int32_t>(i);
  }
}

// Before a model is made: a damaged configuration must not ask for more memory than the file has.
void check_sizes(const LanguageModelConfig& c, const std::map<std::string, Tensor>& weights) {
  const auto check = [&](const std::string& name, const Shape& shape) {
    const auto found = weights.find(name);
    if (found == weights.end()) throw std::runtime_error("there is no '" + name + "'");
    if (found->second.shape() != shape) {
      throw std::runtime_error("'" + name + "': expected shape " + text_of(shape) + ", got " +
                               text_of(found->second.shape()));
    }
  };
  check("decoder.weight", {c.vocab_size, c.hidden_size});
  if (c.embedding_size > 0) check("encoder.weight", {c.vocab_size, c.embedding_size});
  if (weights.count("rnn.weight_ih_l" + std::to_string(c.num_layers - 1)) == 0) {
    throw std::runtime_error("expected " + std::to_string(c.num_layers) + " layers, got fewer");
  }
}

}  // namespace

std::pair<ModelFolder, std::map<std::string, Tensor>> read_model_folder(const Engine& engine,
                                                                        const fs::path& folder) {
  if (!fs::is_directory(folder)) throw std::runtime_error("there is no such folder");
  SafetensorsFile weights = load_safetensors(engine, folder / kWeights);
  ModelFolder files;
  const auto id = weights.metadata.find("id");
  if (id != weights.metadata.end()) files.id = id->second;
  files.config_text = read_text(folder, kConfig, files.id);
  Json json;
  try {
    json = parse_json(files.config_text);
  } catch (const std::exception& e) {
    throw std::runtime_error(std::string(kConfig) + ": " + e.what());
  }
  files.config = config_of(json);
  const Json* of = json.find("id");
  if (of != nullptr && of->as<std::string>() != nullptr && !files.id.empty() &&
      *of->as<std::string>() != files.id) {
    throw std::runtime_error(std::string(kConfig) + " and " + kWeights +
                             " are of two different models");
  }
  const Json* vocabulary = json.find("vocabulary");
  const bool* wanted = vocabulary == nullptr ? nullptr : vocabulary->as<bool>();
  const bool there = fs::exists(folder / kVocabulary) ||
                     (is_id(files.id) && fs::exists(beside(folder, kVocabulary, files.id)));
  if ((wanted == nullptr || *wanted) && there) {
    files.vocabulary_text = read_text(folder, kVocabulary, files.id);
    read_vocabulary(files);
  }
  check_sizes(files.config, weights.tensors);
  return {std::move(files), std::move(weights.tensors)};
}

void write_model_folder(const fs::path& folder, const ModelFolder& files,
                        std::map<std::string, Tensor> weights) {
  fs::create_directories(folder);
  SafetensorsFile file{std::move(weights), {}};
  // Files without an id were put together by hand; any name will do for a moment.
  const std::string id = is_id(files.id) ? files.id : "0";
  if (is_id(files.id)) file.metadata["id"] = files.id;
  const bool vocabulary = !files.vocabulary_text.empty();
  if (vocabulary) write_file(beside(folder, kVocabulary, id), files.vocabulary_text);
  write_file(beside(folder, kConfig, id), files.config_text);
  save_safetensors(folder / kWeights, file);
  if (vocabulary) {
    fs::rename(beside(folder, kVocabulary, id), folder / kVocabulary);
  } else {
    fs::remove(folder / kVocabulary);
  }
  fs::rename(beside(folder, kConfig, id), folder / kConfig);
}

}  // namespace fused_rnn
