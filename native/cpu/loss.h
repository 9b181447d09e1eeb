// The gradient of a cross entropy, row by row, for those who use it at once.
#pragma once

#include "cells/math.h"
#include "cpu/vector.h"

FUSED_RNN_KERNELS_BEGIN

// Rows that count: their target is not the one to ignore.
inline int64_t counted(const CrossEntropyShape& shape, const int32_t* target) {
  int64_t count = 0;
  for (int64_t i = 0; i < shape.n; ++i) count += target[i] != shape.ignore_index;
  return count;
}

class CrossEntropyGradient {
 public:
  explicit CrossEntropyGradient(const CrossEntropyBackwardArgs& args) : args_(args) {
    const CrossEntropyShape& shape = args.shape;
    if (shape.reduction != Reduction::none) common_ = *args.dloss;
    if (shape.reduction != Reduction::mean) return;
    common_ /= static_cast<float>(counted(shape, args.target));
  }

  // What write() will read.
  void prefetch(int64_t row, int64_t begin, int64_t end) const {
    const float* x = args_.logits + row * args_.shape.classes;
    for (int64_t j = begin; j < end; j += 16) __builtin_prefetch(x + j);
  }

  // out = dlogits[row, begin..end)
  void write(int64_t row, int64_t begin, int64_t end, float* out) const {
    const CrossEntropyShape& shape = args_.shape;
    const int64_t target = args_.target[row];
    if (target == shape.ignore_index || shape.log_probabilities) {
      copy_or_zero(out, nullptr, end - begin);
      if (target == shape.ignore_index) return;
    }
    const float g = shape.reduction == Reduction::none ? args_.dloss[row] : common_;
    if (!shape.log_probabilities) {
      const float* x = args_.logits + row * shape.classes + begin;
      const float lse = args_.lse[row];
      const float even = shape.label_smoothing / static_cast<float>(shape.classes);
      each_vector(end - begin, [&](int64_t j, auto read, auto write) {
        write(out + j, (exp_(read(x + j) - lse) - even) * g);
      });
    }
    if (target >= begin && target < end) out[target - begin] -= (1 - shape.label_smoothing) * g;
  }

 private:
  const CrossEntropyBackwardArgs& args_;
  float common_ = 0;
};

FUSED_RNN_KERNELS_END
