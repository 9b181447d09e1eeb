// The active sequences of every step of a recurrent call: they decrease, the longest sequence comes
// first.
#pragma once

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

namespace fused_rnn {

using BatchSizes = std::shared_ptr<const std::vector<int32_t>>;

// Makes them those of a shape: RnnShape or ElementwiseShape.
template <class Shape>
BatchSizes set_batch_sizes(Shape& shape, std::vector<int32_t> batch_sizes) {
  BatchSizes sizes = std::make_shared<const std::vector<int32_t>>(std::move(batch_sizes));
  shape.steps = static_cast<int64_t>(sizes->size());
  shape.batch_sizes = sizes->data();
  shape.rows = 0;
  for (int32_t size : *sizes) shape.rows += size;
  return sizes;
}

// Whether they can be those of so many sequences.
inline bool are_batch_sizes(const std::vector<int32_t>& sizes, int64_t batch) {
  if (sizes.empty() || sizes.front() != batch || sizes.back() < 0) return false;
  for (size_t t = 1; t < sizes.size(); ++t) {
    if (sizes[t] > sizes[t - 1]) return false;
  }
  return true;
}

}  // namespace fused_rnn
