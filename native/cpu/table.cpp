// This instruction set's backend table.
#include "cpu/isa.h"
#include "ops/backend.h"

#define FUSED_RNN_STRING_(x) #x
#define FUSED_RNN_STRING(x) FUSED_RNN_STRING_(x)

FUSED_RNN_KERNELS_BEGIN

extern const Backend table;
const Backend table = {
    FUSED_RNN_STRING(FUSED_RNN_ISA),
#define OP(op, Args) &op,
#include "ops/ops.def"
#undef OP
    &fused_rnn::rnn_workspace_floats,
};

FUSED_RNN_KERNELS_END
