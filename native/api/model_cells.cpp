#include "api/model_cells.h"

#include <array>

namespace fused_rnn {
namespace {

struct NamedCell {
  const char* name;
  int64_t gates;  // rows of weight_ih over hidden size; 4 of an SRU are 3 where I = H
};

constexpr std::array<NamedCell, 9> kCells = {{{"rnn", 1},
                                              {"gru", 3},
                                              {"lstm", 4},
                                              {"layerNormLSTM", 4},
                                              {"indRNN", 1},
                                              {"sru", 4},
                                              {"minGRU", 2},
                                              {"minLSTM", 3},
                                              {"sLSTM", 4}}};

const NamedCell* find(const std::string& name) {
  for (const NamedCell& cell : kCells) {
    if (name == cell.name) return &cell;
  }
  return nullptr;
}

}  // namespace

bool is_cell_name(const std::string& name) { return find(name) != nullptr; }

Recurrent make_cell(const Engine& engine, const std::string& name, int64_t input_size,
                    int64_t hidden_size, const RecurrentOptions& options,
                    RNN::Nonlinearity nonlinearity) {
  if (name == "gru") return GRU(engine, input_size, hidden_size, options);
  if (name == "lstm") return LSTM(engine, input_size, hidden_size, options);
  if (name == "layerNormLSTM") return LayerNormLSTM(engine, input_size, hidden_size, options);
  if (name == "indRNN") return IndRNN(engine, input_size, hidden_size, options);
  if (name == "sru") return SRU(engine, input_size, hidden_size, options);
  if (name == "minGRU") return MinGRU(engine, input_size, hidden_size, options);
  if (name == "minLSTM") return MinLSTM(engine, input_size, hidden_size, options);
  if (name == "sLSTM") return SLSTM(engine, input_size, hidden_size, options);
  return RNN(engine, input_size, hidden_size, options, nonlinearity);
}

CheckedWeights checked_weights(const std::string& name, int64_t input_size, int64_t hidden_size) {
  int64_t gates = find(name)->gates;
  if (name == "sru" && input_size == hidden_size) gates = 3;
  const int64_t rows = gates * hidden_size;
  std::pair<std::string, Shape> own = {"weight_hh", {rows, hidden_size}};
  if (name == "indRNN") own.second = {hidden_size};
  if (name == "sLSTM") own.second = {gates, 1, hidden_size, hidden_size};
  if (name == "sru") own = {"weight_c", {2 * hidden_size}};
  if (name == "minGRU" || name == "minLSTM") own = {"bias_ih", {rows}};
  return {{"weight_ih", {rows, input_size}}, std::move(own)};
}

}  // namespace fused_rnn
