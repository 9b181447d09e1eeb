// Every cell's struct, and how to get it from its kind.
#pragma once

#include "cells/cells.def"
#include "cells/kinds.h"

namespace fused_rnn {
#if defined(FUSED_RNN_ISA)
namespace FUSED_RNN_ISA {
#endif

// f(Cell{}) for the cell of that kind, which is one of cells.def.
template <class F>
auto with_cell(CellKind kind, F&& f) {
  switch (kind) {
#define CELL(kind, Cell) \
  case CellKind::kind:   \
    return f(Cell{});
#include "cells/cells.def"
#undef CELL
  }
  __builtin_unreachable();
}

#if defined(FUSED_RNN_ISA)
}  // namespace FUSED_RNN_ISA
#endif
}  // namespace fused_rnn
