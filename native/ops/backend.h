// A backend: one function per operation of ops.def. Which one runs is decided by the tensor's
// device and, on the CPU, by what instructions the processor has.
#pragma once

#include <string>
#include <vector>

#include "core/context.h"
#include "ops/ops.h"

namespace fused_rnn {

struct Backend {
  const char* name;
#define OP(op, Args) void (*op)(const Args&, Context&);
#include "ops/ops.def"
#undef OP
  // Floats that rnn_forward saves for rnn_backward.
  int64_t (*rnn_workspace_floats)(const RnnShape& shape);
};

// The widest instruction set that the processor has; FUSED_RNN_ISA=avx512bf16|avx512vnni|
// avx512|avx2|base takes one.
// Throws std::runtime_error when the one asked for is unknown or not there.
const Backend& cpu_backend();
// Those of its instruction sets whose kernels multiply bfloat16: its own, or "avx512bf16".
const char* cpu_bf16_kernels();
// Those whose kernels multiply int8: its own, or "avx512vnni".
const char* cpu_int8_kernels();

// What this processor has of the instructions that matter here, by their usual names: "avx2", …
std::vector<std::string> cpu_features();
// The instruction sets of FUSED_RNN_ISA that are built and can run here, widest first.
std::vector<std::string> cpu_instruction_sets();

}  // namespace fused_rnn
