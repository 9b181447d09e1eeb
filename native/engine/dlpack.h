// Tensors shared with other libraries, by DLPack's struct (fused_rnn/c.h).
#pragma once

#include <cstdint>
#include <vector>

#include "engine/executor.h"
#include "fused_rnn/c.h"

namespace fused_rnn {

// A share of the buffer, until the receiver calls the deleter, on any thread. On the thread of the
// queue's jobs, or when it is idle, after the values have been computed. `device`: -1 for the CPU,
// else the GPU's index.
DLManagedTensor* export_dlpack(const Buffer& buffer, const std::vector<int64_t>& shape,
                               int64_t device);

// -1 for the CPU, else the GPU's index. Throws std::invalid_argument for any other device.
int64_t dlpack_device(const DLTensor& tensor);

struct Imported {
  Buffer buffer;
  std::vector<int64_t> shape;
};
// Takes the tensor over, without a copy, as memory of `executor`, which is its device. Throws
// std::invalid_argument ("expected …, got …"), and leaves it alone, when it is not a contiguous
// array of float32 or int32.
Imported import_dlpack(DLManagedTensor* tensor, const Executor& executor);

}  // namespace fused_rnn
