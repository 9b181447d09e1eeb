// The CUDA backend's table.
#include "cuda/ops.h"
#include "cuda/rnn/loop.h"
#include "fused_rnn/cuda.h"

namespace fused_rnn {

const Backend& cuda_backend() {
  static constexpr Backend table = {
      "cuda",
#define OP(op, Args) &cuda::op,
#include "fused_rnn/ops.def"
#undef OP
      &cuda::rnn_workspace_floats,
  };
  return table;
}

}  // namespace fused_rnn
