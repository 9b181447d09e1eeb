// Every cell, by kind.
#pragma once

#include "cells/gru.h"
#include "cells/layer_norm_lstm.h"
#include "cells/lstm.h"
#include "cells/rnn.h"
#include "ops/ops.h"

namespace fused_rnn {
#if defined(FUSED_RNN_ISA)
namespace FUSED_RNN_ISA {
#endif

// f(Cell{}) for the cell of that kind.
template <class F>
auto with_cell(CellKind kind, F&& f) {
  switch (kind) {
    case CellKind::rnn_tanh:
      return f(RnnTanhCell{});
    case CellKind::rnn_relu:
      return f(RnnReluCell{});
    case CellKind::gru:
      return f(GruCell{});
    case CellKind::layer_norm_lstm:
      return f(LayerNormLstmCell{});
    case CellKind::lstm:
      break;
  }
  return f(LstmCell{});
}

#if defined(FUSED_RNN_ISA)
}  // namespace FUSED_RNN_ISA
#endif
}  // namespace fused_rnn
