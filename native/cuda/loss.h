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
  // `factor`: see cross_entropy_factor().
  CrossEntropyGradient(const CrossEntropyBackwardArgs& args, const float* factor)
      : args_(args), factor_(factor) {}

  // The part that the elements of a row share.
  struct Row {
    int64_t target;
    float g, lse, own, even;
    bool ignored;
  };
  __device__ Row row(int64_t i) const {
    Row row{args_.target[i], 0, 0, 1, 1, false};
    row.ignored = row.target == args_.shape.ignore_index;
    if (row.ignored) return row;
    const CrossEntropyShape& shape = args_.shape;
    row.g = shape.reduction == Reduction::none ? args_.dloss[i] : *factor_;
    if (args_.weight != nullptr && row.target >= 0 && row.target < shape.classes) {
      row.own = args_.weight[row.target];
      row.even = factor_[1];
    }
    if (!args_.shape.log_probabilities) row.lse = args_.lse[i];
    return row;
  }
  // dlogits[i, c], where row = row(i).
  __device__ float at(const Row& row, int64_t i, int64_t c) const {
    const CrossEntropyShape& shape = args_.shape;
    if (row.ignored) return 0;
    const float even = shape.label_smoothing / static_cast<float>(shape.classes);
    float d = 0;
    if (even > 0) d = -even * (args_.weight != nullptr ? args_.weight[c] : 1) * row.g;
    if (!shape.log_probabilities) {
      const float p = exp_(args_.logits[i * shape.classes + c] - row.lse);
      const float all = (1 - shape.label_smoothing) * row.own + even * row.even;
      d += p * (args_.weight != nullptr ? all : 1) * row.g;
    }
    return c == row.target ? d - (1 - shape.label_smoothing) * row.own * row.g : d;
  }

 private:
  CrossEntropyBackwardArgs args_;
  const float* factor_;
};

// factor[0] = the gradient of one row's loss, unless there is a loss for each row; factor[1] = the
// sum of the weights, if there are any. Device memory.
void cross_entropy_factor(CudaDevice& device, const CrossEntropyBackwardArgs& args, float* factor);

}  // namespace fused_rnn::cuda
