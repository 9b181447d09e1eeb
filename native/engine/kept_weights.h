// Weights rounded to bfloat16 for inference with few rows, where reading them is what takes the
// time: made once, and kept with their tensor until an operation may have changed it.
#pragma once

#include <cstdint>

#include "core/storage.h"

namespace fused_rnn {

// Up to this many rows; cpu/tile.h's kFewRows.
constexpr int64_t kKeptRows = 8;

// From this many values on; fewer stay in a core's own cache anyway.
constexpr int64_t kKeptValues = int64_t{1} << 17;

// Of weights [rows, k], which stay alive as long as `w` and its derived values do; null where they
// cannot be kept. `changes`: Queue::changes() when the operation was called. For the thread that
// runs the queue's jobs.
const uint32_t* kept_weights(const Buffer& w, int64_t rows, int64_t k, uint64_t changes);

}  // namespace fused_rnn
