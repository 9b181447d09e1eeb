#include "api/model_folder.h"

#include <chrono>
#include <cmath>
#include <memory>
#include <optional>
#include <stdexcept>
#include <thread>

#include "api/files.h"
#include "api/internal.h"
#include "api/json.h"
#include "api/model_cells.h"
#include "api/saved_folder.h"
#include "api/sha256.h"
#include "api/tensor_file.h"
#include "fused_rnn/safetensors.h"

namespace fused_rnn {
namespace {

namespace fs = std::filesystem;

constexpr const char* kWeights = "model.safetensors";
constexpr const char* kConfig = "config.json";
constexpr const char* kVocabulary = "vocabulary.json";
// Before the name of the kind.
const std::string kFormat = "fused-rnn ";
constexpr const char* kLanguageModel = "LanguageModel";

// Longer ones are not ours.
size_t limit_of(const std::string& name) { return size_t{1} << (name == kConfig ? 20 : 29); }

bool is_id(const std::string& text) {
  return !text.empty() && text.find_first_not_of("0123456789abcdef") == std::string::npos;
}

}  // namespace

void wrong(const std::string& name, const std::string& expected) {
  throw std::runtime_error(std::string(kConfig) + ": " + name + ": expected " + expected);
}

int64_t size_of(const Json& json, const char* name, int64_t least) {
  const auto number = member<double>(json, name, "a whole number");
  if (number != std::floor(number) || number < static_cast<double>(least) || number > 0x1p31 - 1) {
    wrong(name, "a whole number of at least " + std::to_string(least));
  }
  return static_cast<int64_t>(number);
}

namespace {

void check_format(const Json& json, const std::string& kind) {
  const Json* format = json.find("format");
  const Json* version = json.find("version");
  const std::string* name = format == nullptr ? nullptr : format->as<std::string>();
  const double* number = version == nullptr ? nullptr : version->as<double>();
  if (name == nullptr || *name != kFormat + kind || number == nullptr || *number != 1) {
    throw std::runtime_error(std::string(kConfig) + " does not describe a " + kind +
                             " of version 1");
  }
}

LanguageModelConfig config_of(const Json& json) {
  LanguageModelConfig c;
  c.vocab_size = size_of(json, "vocabSize", 1);
  c.embedding_size = size_of(json, "embeddingSize", 0);
  c.hidden_size = size_of(json, "hiddenSize", 1);
  c.num_layers = size_of(json, "numLayers", 1);
  c.cell = member<std::string>(json, "cell", kCellNames);
  if (!is_cell_name(c.cell)) {
    wrong("cell", std::string(kCellNames) + ", got '" + c.cell + "'");
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

}  // namespace

SavedTokens read_tokens(const std::string& vocabulary_text) {
  const auto fail = [](const std::string& what) {
    throw std::runtime_error(std::string(kVocabulary) + ": " + what);
  };
  Json json;
  try {
    json = parse_json(vocabulary_text);
  } catch (const std::exception& e) {
    fail(e.what());
  }
  SavedTokens saved;
  const Json* list = json.find("tokens");
  const auto* tokens = list == nullptr ? nullptr : list->as<Json::Array>();
  if (tokens == nullptr) fail("tokens: expected an array of strings");
  for (const Json& token : *tokens) {
    if (token.as<std::string>() == nullptr) fail("tokens: expected an array of strings");
    saved.tokens.push_back(*token.as<std::string>());
  }
  const Json* unknown = json.find("unknownToken");
  const std::string* name = unknown == nullptr ? nullptr : unknown->as<std::string>();
  for (size_t i = 0; name != nullptr && i < saved.tokens.size(); ++i) {
    if (saved.tokens[i] == *name) saved.unknown = static_cast<int32_t>(i);
  }
  return saved;
}

namespace {

void read_vocabulary(ModelFolder& files, const std::string& text) {
  SavedTokens saved = read_tokens(text);
  files.tokens = std::move(saved.tokens);
  files.unknown = saved.unknown;
  if (static_cast<int64_t>(files.tokens.size()) != files.config.vocab_size) {
    throw std::runtime_error(std::string(kVocabulary) + ": expected " +
                             std::to_string(files.config.vocab_size) + " tokens (vocabSize), got " +
                             std::to_string(files.tokens.size()));
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

[[noreturn]] void missing(const std::string& name) {
  throw std::runtime_error(name + ": no such file or folder");
}

// How often to look again while the files change, and how long to wait in between.
constexpr int kAttempts = 200;
constexpr auto kPause = std::chrono::milliseconds(25);

// Where a file may be that others name: under its name, or where a writer was killed before it got
// it (saved_folder.h).
std::vector<fs::path> places_of(const fs::path& folder, const std::string& name,
                                const std::string& id) {
  std::vector<fs::path> places = {folder / name};
  for (const std::string& staging : staging_folders(folder))
    places.push_back(folder / staging / name);
  // Earlier versions.
  if (is_id(id)) places.push_back(folder / ("." + name + "." + id + ".tmp"));
  return places;
}

// The texts there are that are JSON, in all places.
std::vector<std::pair<std::string, Json>> texts_of(const fs::path& folder, const std::string& name,
                                                   const std::string& id) {
  std::vector<std::pair<std::string, Json>> found;
  for (const fs::path& place : places_of(folder, name, id)) {
    try {
      std::string text = read_file(place, limit_of(name));
      Json json = parse_json(text);
      found.emplace_back(std::move(text), std::move(json));
    } catch (const std::exception&) {
    }
  }
  return found;
}

std::string text_in(const Json& json, const char* name) {
  const Json* found = json.find(name);
  const auto* text = found == nullptr ? nullptr : found->as<std::string>();
  return text == nullptr ? "" : *text;
}

// The hash of configuration and vocabulary, as ts/models/model_folder.ts makes it.
std::string id_of(const Json& config, const Json* vocabulary) {
  Json description{Json::Object{}};
  if (const auto* members = config.as<Json::Object>()) {
    for (const auto& member : *members) {
      if (member.first == "id" || member.first == "vocabulary") continue;
      std::get<Json::Object>(description.value).push_back(member);
    }
  }
  const std::string text =
      json_text(description) + "," + (vocabulary == nullptr ? "null" : json_text(*vocabulary));
  return sha256("[" + text + "]").substr(0, 16);
}

// Whether a configuration says that there is a vocabulary; none where it does not say.
const bool* wants_vocabulary(const Json& config) {
  const Json* found = config.find("vocabulary");
  return found == nullptr ? nullptr : found->as<bool>();
}

// The configuration and the vocabulary that belong to an id, wherever a writer has left them. `id`:
// of the weights; empty where somebody else wrote those, and the configuration's own counts.
bool find_texts(const fs::path& folder, const std::string& id, ModelTexts& files) {
  const auto vocabularies = texts_of(folder, kVocabulary, id);
  for (const auto& [text, config] : texts_of(folder, kConfig, id)) {
    const std::string of = text_in(config, "id");
    const bool* wanted = wants_vocabulary(config);
    const bool none = wanted != nullptr && !*wanted;
    files.config_text = text;
    files.vocabulary_text.clear();
    // Files without any id were put together by hand.
    if (id.empty() && of.empty()) {
      if (!none && !vocabularies.empty()) files.vocabulary_text = vocabularies[0].first;
      return none || wanted == nullptr || !files.vocabulary_text.empty();
    }
    if (!id.empty() && !of.empty() && of != id) continue;
    const std::string& expected = id.empty() ? of : id;
    if (!none) {
      for (const auto& [list, vocabulary] : vocabularies) {
        if (id_of(config, &vocabulary) != expected) continue;
        files.vocabulary_text = list;
        return true;
      }
    }
    if ((wanted == nullptr || none) && id_of(config, nullptr) == expected) return true;
  }
  return false;
}

std::string read_text(const fs::path& path, const std::string& name) {
  try {
    return read_file(path, limit_of(name));
  } catch (const std::exception& e) {
    throw std::runtime_error(name + ": " + e.what());
  }
}

Json parse_text(const std::string& text, const std::string& name) {
  try {
    return parse_json(text);
  } catch (const std::exception& e) {
    throw std::runtime_error(name + ": " + e.what());
  }
}

// What is there under the usual names. Returns why it does not belong together.
std::string plain_texts(const fs::path& folder, const std::string& kind, ModelTexts& files) {
  files.config_text = read_text(folder / kConfig, kConfig);
  const Json config = parse_text(files.config_text, kConfig);
  check_format(config, kind);
  files.vocabulary_text.clear();
  const bool* wanted = wants_vocabulary(config);
  const bool none = wanted != nullptr && !*wanted;
  if (!none && fs::exists(folder / kVocabulary)) {
    files.vocabulary_text = read_text(folder / kVocabulary, kVocabulary);
  } else if (wanted != nullptr && *wanted) {
    missing(kVocabulary);
  }
  const std::string of = text_in(config, "id");
  if (!of.empty() && !files.id.empty() && of != files.id) {
    return std::string(kConfig) + " and " + kWeights + " are of two different models";
  }
  return (none ? kConfig : std::string(kConfig) + " or " + kVocabulary) +
         " is not the one that was saved with " + kWeights + "; save the model again";
}

// Whether files have changed: which they are, and when they were written.
std::string signature(const fs::path& folder) {
  std::string all;
  for (const char* name : {kWeights, kConfig, kVocabulary}) {
    std::error_code error;
    const auto time = fs::last_write_time(folder / name, error).time_since_epoch().count();
    const auto size = fs::file_size(folder / name, error);
    all += std::to_string(time) + "," + std::to_string(size) + ";";
  }
  return all;
}

std::unique_ptr<TensorFile> open_weights(const fs::path& folder) {
  for (const fs::path& place : places_of(folder, kWeights, "")) {
    if (!fs::exists(place)) continue;
    try {
      return std::make_unique<TensorFile>(place);
    } catch (const std::exception& e) {
      throw std::runtime_error(std::string(kWeights) + ": " + e.what());
    }
  }
  missing(kWeights);
}

// None: the files do not fit, and may have been replaced in the meantime. `last`: they are told, or
// read as far as they can be.
std::optional<ModelTexts> attempt(const Engine& engine, const fs::path& folder,
                                  const std::string& kind, const Understand& understand,
                                  bool last) {
  try {
    const std::unique_ptr<TensorFile> file = open_weights(folder);
    ModelTexts files;
    const auto id = file->metadata.find("id");
    if (id != file->metadata.end()) files.id = id->second;
    if (!find_texts(folder, files.id, files)) {
      if (!last) return {};
      files.mixed = plain_texts(folder, kind, files);
    }
    const Json config = parse_text(files.config_text, kConfig);
    check_format(config, kind);
    if (files.id.empty()) files.id = text_in(config, "id");
    std::map<std::string, Tensor> weights;
    try {
      weights = file->tensors(engine);
    } catch (const std::exception& e) {
      throw std::runtime_error(std::string(kWeights) + ": " + e.what());
    }
    understand(config, files.vocabulary_text, weights);
    return files;
  } catch (const std::exception&) {
    // A file may have been taken away by a writer just then.
    if (last) throw;
    return {};
  }
}

// Whether a folder's files are a model's of ours; throws what is not.
void check_own(const fs::path& folder) {
  const auto is_there = [&](const char* name) {
    return fs::exists(fs::symlink_status(folder / name));
  };
  if (is_there("trainer.json")) {
    throw std::runtime_error(
        "it is a checkpoint, which would lose its weights; choose another folder");
  }
  bool own = false;
  try {
    own = text_in(parse_json(read_file(folder / kConfig, limit_of(kConfig))), "format") ==
          kFormat + kLanguageModel;
  } catch (const std::exception&) {
  }
  try {
    own = own || TensorFile(folder / kWeights).metadata.count("id") > 0;
  } catch (const std::exception&) {
  }
  for (const char* name : {kConfig, kWeights, kVocabulary}) {
    if (!own && is_there(name)) {
      throw std::runtime_error(std::string("its ") + name + " is not a model's of fused-rnn");
    }
    if (is_there(name) && !fs::is_regular_file(fs::symlink_status(folder / name))) {
      throw std::runtime_error(std::string("its ") + name +
                               " is a link, a pipe or a folder, which is not replaced");
    }
  }
}

}  // namespace

ModelTexts read_model_files(const Engine& engine, const fs::path& folder, const std::string& kind,
                            const Understand& understand) {
  if (!fs::is_directory(folder)) throw std::runtime_error("there is no such folder");
  std::string before;
  for (int i = 1;; ++i) {
    const std::string seen = signature(folder);
    const bool last = seen == before || i == kAttempts;
    std::optional<ModelTexts> found = attempt(engine, folder, kind, understand, last);
    if (found) return std::move(*found);
    before = seen;
    std::this_thread::sleep_for(kPause);
  }
}

std::pair<ModelFolder, std::map<std::string, Tensor>> read_model_folder(const Engine& engine,
                                                                        const fs::path& folder) {
  ModelFolder files;
  std::map<std::string, Tensor> weights;
  const auto understand = [&](const Json& config, const std::string& vocabulary,
                              const std::map<std::string, Tensor>& found) {
    files = {};
    files.config = config_of(config);
    if (!vocabulary.empty()) read_vocabulary(files, vocabulary);
    check_sizes(files.config, found);
    weights = found;
  };
  static_cast<ModelTexts&>(files) = read_model_files(engine, folder, kLanguageModel, understand);
  return {std::move(files), std::move(weights)};
}

void write_model_folder(const fs::path& folder, const ModelFolder& files,
                        std::map<std::string, Tensor> weights) {
  SafetensorsFile file{std::move(weights), {}};
  if (is_id(files.id)) file.metadata["id"] = files.id;
  std::vector<SavedFile> parts;
  // The head comes first.
  parts.push_back({kWeights, [&](const fs::path& path) { save_safetensors(path, file); }});
  parts.push_back({kConfig, [&](const fs::path& path) { write_file(path, files.config_text); }});
  if (!files.vocabulary_text.empty()) {
    parts.push_back(
        {kVocabulary, [&](const fs::path& path) { write_file(path, files.vocabulary_text); }});
  }
  save_folder(folder, parts, {kWeights, kConfig, kVocabulary}, check_own);
}

}  // namespace fused_rnn
