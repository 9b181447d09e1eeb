// The gradient of a cross entropy, element by element, for kernels that use it at once. For .cu
// files.
#pragma once

#include "cells/math.h"
#include "cuda/device/device.h"
#include "ops/ops.h"

namespace fused_rnn::cuda {

// What an element of the gradient is made of. A target out of range, which the forward pass has
// reported, counts as none.
class CrossEntropyGradient {
 public:
  // `factor`: see cross_entropy_factor(); not used when there is a loss for each row.
  CrossEntropyGradient(const CrossEntropyBackwardArgs& args, const float* factor)
      : args_(args), factor_(factor) {}

  // The part that the elements of a row share.
  struct Row {
    int64_t target;
    float g, lse;
    bool ignored;
  };
  __device__ Row row(int64_t i) const {
    Row row{args_.target[i], 0, 0, false};
    row.ignored = row.target == args_.shape.ignore_index;
    if (row.ignored) return row;
    row.g = args_.shape.reduction == Reduction::none ? args_.dloss[i] : *factor_;
    if (!args_.shape.log_probabilities) row.lse = args_.lse[i];
    return row;
  }
  // dlogits[i, c], where row = row(i).
  __device__ float at(const Row& row, int64_t i, int64_t c) const {
    const CrossEntropyShape& shape = args_.shape;
    if (row.ignored) return 0;
    float d = 0;
    if (!shape.log_probabilities) {
      const float even = shape.label_smoothing / static_cast<float>(shape.classes);
      d = (exp_(args_.logits[i * shape.classes + c] - row.lse) - even) * row.g;
    }
    return c == row.target ? d - (1 - shape.label_smoothing) * row.g : d;
  }

 private:
  CrossEntropyBackwardArgs args_;
  const float* factor_;
};

// factor[0] = the gradient of one row's loss, unless there is a loss for each row. Device memory.
void cross_entropy_factor(CudaDevice& device, const CrossEntropyBackwardArgs& args, float* factor);

}  // namespace fused_rnn::cuda
