// The CUDA backend's table.
#include "cuda/ops.h"
#include "cuda/rnn/loop.h"
#include "ops/cuda.h"

namespace fused_rnn {

const Backend& cuda_backend() {
  static constexpr Backend table = {
      "cuda",
#define OP(op, Args) &cuda::op,
#include "ops/ops.def"
#undef OP
      &cuda::rnn_workspace_floats,
  };
  return table;
}

}  // namespace fused_rnn
