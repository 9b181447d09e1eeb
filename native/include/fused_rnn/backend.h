// A backend: one function per operation of ops.def. Which one runs is decided by the tensor's
// device and, on the CPU, by what instructions the processor has.
#pragma once

#include "core/context.h"
#include "fused_rnn/ops.h"

namespace fused_rnn {

struct Backend {
  const char* name;
#define OP(op, Args) void (*op)(const Args&, Context&);
#include "fused_rnn/ops.def"
#undef OP
  // Floats that rnn_forward saves for rnn_backward.
  int64_t (*rnn_workspace_floats)(const RnnShape& shape);
};

// The widest instruction set that the processor has; FUSED_RNN_ISA=avx512|avx2|base takes one.
// Throws std::runtime_error when the one asked for is unknown or not there.
const Backend& cpu_backend();

}  // namespace fused_rnn
