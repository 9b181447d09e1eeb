// Every file in cpu/ that holds kernels is compiled once per instruction set, each time with other
// compiler flags and another FUSED_RNN_ISA, which names the namespace that keeps the copies apart.
// Kernels are written as plain loops that the compiler vectorises.
#pragma once

#include "core/context.h"
#include "ops/ops.h"

#ifndef FUSED_RNN_ISA
#error "compile the files in cpu/ through the kernel libraries of CMakeLists.txt"
#endif

#define FUSED_RNN_KERNELS_BEGIN \
  namespace fused_rnn {         \
  namespace FUSED_RNN_ISA {
#define FUSED_RNN_KERNELS_END \
  }                           \
  }

FUSED_RNN_KERNELS_BEGIN
#define OP(op, Args) void op(const Args& args, Context& context);
#include "ops/ops.def"
#undef OP
FUSED_RNN_KERNELS_END
