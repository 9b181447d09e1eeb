#include "cpu/rnn/workspace.h"

#include "cells/cells.h"

namespace fused_rnn {

int64_t rnn_workspace_floats(const RnnShape& shape) {
  return with_cell(shape.cell, [&](auto cell) { return RnnWorkspace(cell, shape).floats(); });
}

}  // namespace fused_rnn
