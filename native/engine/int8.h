// Weights as int8, and the product of a linear layer with them, on the CPU's queue. The format is in
// cpu/int8/kernels.h; a recurrent layer's call takes such weights in RecurrentCall::scales.
#pragma once

#include "engine/executor.h"

namespace fused_rnn {

struct Int8Buffers {
  Buffer words;   // int32
  Buffer scales;  // [groups * rows]
};

// Of w [groups * rows, columns].
Int8Buffers quantize_weights(Executor& executor, const Buffer& w, int64_t groups, int64_t rows,
                             int64_t columns);

// x [m, in], weights [out, in] of one group, b [out] or absent → y [m, out]
Buffer int8_linear(Executor& executor, const Buffer& x, const Int8Buffers& w, const Buffer& b,
                   int64_t m, int64_t in, int64_t out);

}  // namespace fused_rnn
