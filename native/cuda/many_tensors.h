// Launches that work on many tensors at once. What a launch needs to know of the tensors travels as
// its arguments, so nothing is copied to the device. For .cu files.
#pragma once

#include <limits>

#include "cuda/elements.h"

namespace fused_rnn::cuda {

constexpr int64_t kChunk = 16 * kBlock;  // elements of one tensor that a block works on

// As many tensors as fit the arguments of a launch (4 KB in all). T: what a kernel needs to know of
// one, with its number of elements n.
template <class T>
struct Tensors {
  static constexpr int kMost = static_cast<int>(3800 / (sizeof(T) + sizeof(uint32_t)));
  int32_t count;
  uint32_t first_block[kMost];  // of each tensor
  T tensors[kMost];

  // What a block works on: up to kChunk elements of a tensor, from `begin` on.
  struct Chunk {
    int32_t tensor;
    int64_t begin;
  };
  __device__ Chunk chunk_of(uint32_t block) const {
    int low = 0, high = count;
    while (high - low > 1) {
      const int middle = (low + high) / 2;
      (first_block[middle] <= block ? low : high) = middle;
    }
    return {low, (block - first_block[low]) * kChunk};
  }
};

// Calls f(tensors, number of blocks, number of the first) for each of the launches that take all
// tensors. tensor(k): the T of tensor k.
template <class T, class Tensor, class F>
int64_t each_launch(int64_t count, Tensor tensor, F f) {
  Tensors<T> some{};
  int64_t done = 0, blocks = 0;
  const auto flush = [&] {
    f(some, blocks, done);
    done += blocks;
    blocks = some.count = 0;
  };
  for (int64_t k = 0; k < count; ++k) {
    const T t = tensor(k);
    const int64_t more = (t.n + kChunk - 1) / kChunk;
    if (more == 0) continue;
    if (some.count == Tensors<T>::kMost || blocks + more > INT32_MAX) flush();
    some.tensors[some.count] = t;
    some.first_block[some.count] = static_cast<uint32_t>(blocks);
    some.count += 1;
    blocks += more;
  }
  if (blocks > 0) flush();
  return done;
}

}  // namespace fused_rnn::cuda
