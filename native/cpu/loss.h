// The gradient of a cross entropy, row by row, for those who use it at once.
#pragma once

#include "cells/math.h"
#include "cpu/vector.h"

FUSED_RNN_KERNELS_BEGIN

// Rows that count, as their target is not the one to ignore: their number, or sum of weights.
inline double counted(const CrossEntropyShape& shape, const int32_t* target, const float* weight) {
  int64_t count = 0;
  for (int64_t i = 0; i < shape.n; ++i) count += target[i] != shape.ignore_index;
  if (weight == nullptr) return static_cast<double>(count);
  double sum = 0;
  for (int64_t i = 0; i < shape.n; ++i) {
    if (target[i] != shape.ignore_index) sum += weight[target[i]];
  }
  return sum;
}

// Of all classes.
inline float total_weight(const float* weight, int64_t classes) {
  double sum = 0;
  for (int64_t c = 0; c < classes; ++c) sum += weight[c];
  return static_cast<float>(sum);
}

class CrossEntropyGradient {
 public:
  explicit CrossEntropyGradient(const CrossEntropyBackwardArgs& args) : args_(args) {
    const CrossEntropyShape& shape = args.shape;
    if (shape.reduction != Reduction::none) common_ = *args.dloss;
    if (args.weight != nullptr) total_weight_ = total_weight(args.weight, shape.classes);
    if (shape.reduction != Reduction::mean) return;
    common_ /= static_cast<float>(counted(shape, args.target, args.weight));
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
    if (target == shape.ignore_index) return copy_or_zero(out, nullptr, end - begin);
    float g = shape.reduction == Reduction::none ? args_.dloss[row] : common_;
    if (args_.weight != nullptr && shape.label_smoothing > 0) {
      return write_weighted(row, begin, end, g, out);
    }
    if (args_.weight != nullptr) g *= args_.weight[target];
    if (shape.log_probabilities) {
      const float even = shape.label_smoothing / static_cast<float>(shape.classes);
      for (int64_t j = 0; j < end - begin; ++j) out[j] = even > 0 ? -even * g : 0;
    } else {
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
  // Where every class has a weight of its own in the smoothed target.
  void write_weighted(int64_t row, int64_t begin, int64_t end, float g, float* out) const {
    const CrossEntropyShape& shape = args_.shape;
    const int64_t target = args_.target[row];
    const float *x = args_.logits + row * shape.classes + begin, *weight = args_.weight + begin;
    const float own = (1 - shape.label_smoothing) * args_.weight[target], lse = args_.lse[row];
    const float even = shape.label_smoothing / static_cast<float>(shape.classes);
    const float all = own + even * total_weight_;
    each_vector(end - begin, [&](int64_t j, auto read, auto write) {
      Vec d = Vec{} - read(weight + j) * even;
      if (!shape.log_probabilities) d += exp_(read(x + j) - lse) * all;
      write(out + j, d * g);
    });
    if (target >= begin && target < end) out[target - begin] -= own * g;
  }

  const CrossEntropyBackwardArgs& args_;
  float total_weight_ = 0;
  float common_ = 0;
};

FUSED_RNN_KERNELS_END
