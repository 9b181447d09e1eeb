// What the models of tasks have in common: a stack of recurrent layers, a last layer, scales.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "api/json.h"
#include "fused_rnn/layers.h"

namespace fused_rnn {

// A column's values are (x - center) / scale.
struct Scale {
  double center = 0;
  double scale = 1;
};

using Weights = std::map<std::string, Tensor>;

// A stack with its sizes, as a saved configuration has them.
struct StackSizes {
  std::string cell;  // of model_cells.h
  int64_t hidden_size = 0;
  int64_t num_layers = 0;
  bool bidirectional = false;
};

// "cell", "hiddenSize", "numLayers" and, where it is there, "bidirectional".
StackSizes stack_sizes(const Json& config);

// Before layers are made: a damaged configuration must not ask for more memory than the file has.
void check_weight(const Weights& weights, const std::string& name, const Shape& shape);
void check_stack(const Weights& weights, int64_t input_size, const StackSizes& sizes);

Recurrent make_stack(const Engine& engine, int64_t input_size, const StackSizes& sizes);

// Gives parameters their values, and takes those from the weights.
void take_weights(const Engine& engine, Weights& weights, const std::string& module,
                  const Parameters& parameters);

// Reads the folder of a model of this kind. `make` gets what was found, and throws what is wrong with
// it; it may be called again, when the files change in the meantime. Throws "[kind.load] …".
void load_task(const std::string& kind, const Engine& engine, const std::filesystem::path& folder,
               const std::function<void(const Json& config, const std::string& vocabulary,
                                        const Weights& weights)>& make);

// Members of a configuration; they throw std::runtime_error that names them.
const Json& object_in(const Json& json, const char* name);
std::vector<std::string> names_in(const Json& json, const char* name);
std::vector<double> numbers_in(const Json& json, const char* name);
Scale scale_in(const Json& json, const std::string& name);

}  // namespace fused_rnn
