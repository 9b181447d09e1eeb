// How the CPU lays out the workspace of a recurrent call (ops/rnn_workspace.h).
#pragma once

#include "ops/rnn_workspace.h"

namespace fused_rnn {
#if defined(FUSED_RNN_ISA)
namespace FUSED_RNN_ISA {
#endif

struct CpuLayout {
  // Rows a multiple of 1 KiB apart would share few places of the caches, so those get a cache line
  // more.
  static constexpr int64_t gate_row(int64_t blocks, int64_t hidden) {
    const int64_t floats = blocks * hidden;
    return floats >= 512 && floats % 256 == 0 ? floats + 16 : floats;
  }
  static int64_t array(int64_t floats) { return floats; }
};

using RnnWorkspace = RnnWorkspaceOf<CpuLayout>;

// Floats from one row of the gate matrix to the next.
constexpr int64_t gate_row(int64_t blocks, int64_t hidden) {
  return CpuLayout::gate_row(blocks, hidden);
}

#if defined(FUSED_RNN_ISA)
}  // namespace FUSED_RNN_ISA
#endif
}  // namespace fused_rnn
