// The cells by number, in the order of cells.def.
#pragma once

#include <cstdint>

namespace fused_rnn {

enum class CellKind : int32_t {
#define CELL(kind, Cell) kind,
#include "cells/cells.def"
#undef CELL
};

inline constexpr CellKind kCells[] = {
#define CELL(kind, Cell) CellKind::kind,
#include "cells/cells.def"
#undef CELL
};
constexpr int kCellCount = sizeof(kCells) / sizeof(kCells[0]);

}  // namespace fused_rnn
