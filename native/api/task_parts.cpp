#include "api/task_parts.h"

#include <cmath>
#include <stdexcept>

#include "api/internal.h"
#include "api/model_cells.h"
#include "api/model_folder.h"

namespace fused_rnn {

StackSizes stack_sizes(const Json& config) {
  StackSizes s;
  s.cell = member<std::string>(config, "cell", kCellNames);
  if (!is_cell_name(s.cell)) {
    wrong("cell", std::string(kCellNames) + ", got '" + s.cell + "'");
  }
  s.hidden_size = size_of(config, "hiddenSize", 1);
  s.num_layers = size_of(config, "numLayers", 1);
  if (config.find("bidirectional") != nullptr) {
    s.bidirectional = member<bool>(config, "bidirectional", "true or false");
  }
  return s;
}

void check_weight(const Weights& weights, const std::string& name, const Shape& shape) {
  const auto found = weights.find(name);
  if (found == weights.end()) throw std::runtime_error("there is no '" + name + "'");
  if (found->second.shape() != shape) {
    throw std::runtime_error("'" + name + "': expected shape " + text_of(shape) + ", got " +
                             text_of(found->second.shape()));
  }
}

void check_stack(const Weights& weights, int64_t input_size, const StackSizes& sizes) {
  const auto [input, own] = checked_weights(sizes.cell, input_size, sizes.hidden_size);
  check_weight(weights, "rnn." + input.first + "_l0", input.second);
  check_weight(weights, "rnn." + own.first + "_l" + std::to_string(sizes.num_layers - 1),
               own.second);
}

Recurrent make_stack(const Engine& engine, int64_t input_size, const StackSizes& sizes) {
  RecurrentOptions options;
  options.num_layers = sizes.num_layers;
  options.bidirectional = sizes.bidirectional;
  return make_cell(engine, sizes.cell, input_size, sizes.hidden_size, options);
}

void take_weights(const Engine& engine, Weights& weights, const std::string& module,
                  const Parameters& parameters) {
  for (const auto& [name, parameter] : parameters) {
    const std::string full = module + "." + name;
    const auto found = weights.find(full);
    if (found == weights.end()) throw std::runtime_error("there is no '" + full + "'");
    check_shape("load", "'" + full + "'", found->second, engine, parameter->value.shape());
    parameter->value = found->second;
    weights.erase(found);
  }
}

void load_task(const std::string& kind, const Engine& engine, const std::filesystem::path& folder,
               const std::function<void(const Json&, const std::string&, const Weights&)>& make) {
  try {
    const auto files = read_model_files(engine, folder, kind, make);
    if (!files.mixed.empty()) throw std::runtime_error(files.mixed);
  } catch (const std::exception& e) {
    throw std::runtime_error("[" + kind + ".load] '" + folder.string() +
                             "' does not hold a model: " + e.what());
  }
}

const Json& object_in(const Json& json, const char* name) {
  const Json* found = json.find(name);
  if (found == nullptr || found->as<Json::Object>() == nullptr) wrong(name, "an object");
  return *found;
}

std::vector<std::string> names_in(const Json& json, const char* name) {
  std::vector<std::string> names;
  for (const Json& one : member<Json::Array>(json, name, "an array of names")) {
    if (one.as<std::string>() == nullptr) wrong(name, "an array of names");
    names.push_back(*one.as<std::string>());
  }
  return names;
}

std::vector<double> numbers_in(const Json& json, const char* name) {
  std::vector<double> numbers;
  for (const Json& one : member<Json::Array>(json, name, "an array of numbers")) {
    if (one.as<double>() == nullptr) wrong(name, "an array of numbers");
    numbers.push_back(*one.as<double>());
  }
  return numbers;
}

Scale scale_in(const Json& json, const std::string& name) {
  const Json* center = json.find("center");
  const Json* scale = json.find("scale");
  const double* c = center == nullptr ? nullptr : center->as<double>();
  const double* s = scale == nullptr ? nullptr : scale->as<double>();
  if (c == nullptr || s == nullptr || !(*s > 0)) wrong(name, "a center and a scale above 0");
  return {*c, *s};
}

}  // namespace fused_rnn
