// A recurrent layer without a recurrent matrix together with its input's product, on the CPU alone:
// elsewhere it is linear and what ops_elementwise.h has. The conventions there hold.
//   I inputs
#pragma once

#include <cstdint>

#include "core/context.h"
#include "ops/ops_elementwise.h"

namespace fused_rnn {

// What makes the pre-activations, x w^T + bias.
struct ElementwiseProduct {
  const float* x;     // [rows, I]
  const float* w;     // [B*H, I]
  const float* bias;  // [B*H] or null
  int64_t inputs;
  bool bf16;
};

struct ElementwiseLayerForwardArgs {
  ElementwiseForwardArgs loop;  // without in.a
  ElementwiseProduct product;
  float* a;  // [rows, B*H], for backward, or null
};

struct ElementwiseLayerBackwardArgs {
  // in.a as forward left it, no da; dx is the one below of cells with a way past the product, else null.
  ElementwiseBackwardArgs loop;
  ElementwiseProduct product;
  float* dx;     // [rows, I] or null
  float* dw;     // [B*H, I] or null
  float* dbias;  // [B*H] or null
};

struct ElementwiseLayerKernels {
  void (*forward)(const ElementwiseLayerForwardArgs&, Context&);
  void (*backward)(const ElementwiseLayerBackwardArgs&, Context&);
};

// Those of cpu_backend()'s instructions.
const ElementwiseLayerKernels& elementwise_layer_kernels();

}  // namespace fused_rnn
