// How the loops over time of elementwise_rnn.cu go through packed sequences, and read steps ahead.
// For .cu files.
#pragma once

#include <vector>

#include "cells/elementwise.h"
#include "cuda/device/device.h"
#include "ops/ops_elementwise.h"

namespace fused_rnn::cuda {

// Numbers of the host on the device, for the duration of one operation.
class Table {
 public:
  Table(CudaDevice& device, const std::vector<int64_t>& numbers)
      : scratch_(device, 2 * static_cast<int64_t>(numbers.size())) {
    if (numbers.empty()) return;
    device.upload(scratch_.data(), numbers.data(), numbers.size() * sizeof(int64_t));
  }
  // Null if there are none.
  const int64_t* data() const { return reinterpret_cast<const int64_t*>(scratch_.data()); }

 private:
  DeviceScratch scratch_;
};

inline bool is_packed(const ElementwiseShape& shape) {
  return shape.rows != shape.steps * shape.batch;
}

// The row of each step and of the end; empty if all steps have the whole batch.
inline std::vector<int64_t> first_rows(const ElementwiseShape& shape) {
  if (!is_packed(shape)) return {};
  std::vector<int64_t> first(static_cast<size_t>(shape.steps) + 1);
  for (size_t t = 0; t + 1 < first.size(); ++t) first[t + 1] = first[t] + shape.batch_sizes[t];
  return first;
}

// Where the rows of the steps are.
struct Rows {
  const int64_t* first;  // first_rows(), or null
  int64_t steps, batch;
  bool backwards;  // the walk is from the last step to the first

  FUSED_RNN_HD int64_t step(int64_t i) const { return backwards ? steps - 1 - i : i; }
  __device__ int64_t row(int64_t t) const { return first != nullptr ? first[t] : t * batch; }
  __device__ bool active(int64_t t, int64_t n) const {
    return first == nullptr || n < first[t + 1] - first[t];
  }
};

template <int count>
__device__ inline void read_blocks(float (&to)[count], const float* from, int64_t hidden) {
#pragma unroll
  for (int k = 0; k < count; ++k) to[k] = from[k * hidden];
}

// The state of unit u of sequence n before step t, in the layer's own direction, as the step sees it.
__device__ inline float state_before(const Rows& rows, const ElementwiseShape& shape,
                                     const ElementwiseInputs& in, const float* states, int64_t t,
                                     int64_t n, int64_t u) {
  if (resets(in, rows.row(t) + n)) return 0.0f;
  const int64_t earlier = shape.reverse ? t + 1 : t - 1;
  if (earlier >= 0 && earlier < shape.steps && rows.active(earlier, n)) {
    return states[(rows.row(earlier) + n) * shape.hidden + u];
  }
  return in.state0 != nullptr ? in.state0[n * shape.hidden + u] : 0.0f;
}

// A Kind has `args`, `rows`, a struct Step, and read(t, at, n, u) of the step t of unit u of
// sequence n, whose row begins at element `at` of arrays of H columns.

// Up to `count` steps of a unit in registers: all are asked for before the first is needed.
template <class Kind, int count>
class Steps {
 public:
  // The begin-th of the walk and those after it, as far as they are before `end` and sequence n has
  // them.
  __device__ Steps(const Kind& kind, int64_t begin, int64_t end, int64_t n, int64_t u) {
#pragma unroll
    for (int k = 0; k < count; ++k) {
      at_[k] = -1;
      if (begin + k >= end) continue;
      const int64_t t = kind.rows.step(begin + k);
      if (!kind.rows.active(t, n)) continue;
      at_[k] = (kind.rows.row(t) + n) * kind.args.shape.hidden;
      steps_[k] = kind.read(t, at_[k], n, u);
    }
  }
  // f(step, at) of each; how many there are.
  template <class F>
  __device__ int each(F f) const {
    int found = 0;
#pragma unroll
    for (int k = 0; k < count; ++k) {
      if (at_[k] < 0) continue;
      f(steps_[k], at_[k]);
      ++found;
    }
    return found;
  }

 private:
  typename Kind::Step steps_[count];
  int64_t at_[count];  // -1: there is none
};

}  // namespace fused_rnn::cuda
