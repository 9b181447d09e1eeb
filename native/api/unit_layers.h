// Stacks of layers of cells without a recurrent matrix, as ts/nn/elementwise.ts runs them: the input's
// product of all steps, then the loop over time of each unit by itself.
//
//   L layers   D directions   T steps   N batch   I input   H hidden
#pragma once

#include <cstdint>
#include <vector>

#include "api/internal.h"
#include "engine/elementwise.h"

namespace fused_rnn {

enum class UnitCell { ind_rnn_relu, ind_rnn_tanh, sru, min_gru, min_lstm };

struct UnitStack {
  UnitCell cell;
  int64_t layers, directions, steps, batch, input, hidden;

  int64_t stacks() const { return layers * directions; }
  int64_t rows() const { return steps * batch; }
  int64_t layer_input(int64_t layer) const { return layer == 0 ? input : directions * hidden; }
};

// A parameter of one layer and direction, without suffix.
struct UnitWeight {
  const char* name;
  Shape shape;
  bool bias;
};
// In the order of parameters.
std::vector<UnitWeight> unit_weights(UnitCell cell, int64_t inputs, int64_t hidden);

// What forward leaves for backward.
struct UnitSaved {
  struct Direction {
    ElementwiseCall call;
    Buffer rows;    // what the layer read
    Buffer states;  // y, or the states of a cell that has its own
  };
  std::vector<Direction> directions;   // [L * D]
  std::vector<RandomStream> dropouts;  // of the layers but the last
  float dropout = 0;
};

struct UnitOutput {
  Buffer y;   // [T * N, D * H]
  Buffer hn;  // [L * D, N, H]
};
// weights: of each layer and direction those of unit_weights(), absent where there is none. h0:
// [L * D, N, H], absent for zeros. Without `saved` no dropout takes part.
UnitOutput unit_forward(Engine::Impl& engine, const UnitStack& stack,
                        const std::vector<Buffer>& weights, const Buffer& x, const Buffer& h0,
                        float dropout, UnitSaved* saved);

struct UnitGradients {
  Buffer dx, dh0;               // absent where not wanted
  std::vector<Buffer> weights;  // in the order of weights
};
// dy, dhn: absent for zeros.
UnitGradients unit_backward(Engine::Impl& engine, const UnitStack& stack,
                            const std::vector<Buffer>& weights, const UnitSaved& saved,
                            const Buffer& dy, const Buffer& dhn, bool input_gradient,
                            bool state_gradient);

}  // namespace fused_rnn
