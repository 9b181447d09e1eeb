// The recurrent layers of models by the names that the option `cell` gives them, as
// ts/models/recurrent_cells.ts.
#pragma once

#include <cstdint>
#include <string>
#include <utility>

#include "fused_rnn/layers.h"

namespace fused_rnn {

// Those there are, for messages.
inline constexpr const char* kCellNames =
    "'rnn', 'gru', 'lstm', 'layerNormLSTM', 'indRNN', 'sru', 'minGRU', 'minLSTM' or 'sLSTM'";

bool is_cell_name(const std::string& name);

Recurrent make_cell(const Engine& engine, const std::string& name, int64_t input_size,
                    int64_t hidden_size, const RecurrentOptions& options,
                    RNN::Nonlinearity nonlinearity = RNN::Nonlinearity::tanh);

// Two weights of a layer without suffix, by which a file's sizes are checked before a model is made:
// that of the input, and one whose shape does not depend on the input's width.
struct CheckedWeights {
  std::pair<std::string, Shape> input, own;
};
CheckedWeights checked_weights(const std::string& name, int64_t input_size, int64_t hidden_size);

}  // namespace fused_rnn
