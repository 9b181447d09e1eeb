// The operations of ops.def for CUDA, under the same names as the CPU's.
#pragma once

#include "core/context.h"
#include "cuda/device/device.h"
#include "ops/ops.h"

namespace fused_rnn::cuda {
#define OP(op, Args) void op(const Args& args, Context& context);
#include "ops/ops.def"
#undef OP
}  // namespace fused_rnn::cuda
