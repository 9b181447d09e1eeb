// Sorting rows of 32-bit keys on a GPU. For .cu files.
#pragma once

#include "cuda/device/device.h"

namespace fused_rnn::cuda {

// An unsigned number in the order of the elements: of floats -0 equals 0 and NaN is the largest.
__device__ inline uint32_t sort_key(uint32_t bits, bool integer) {
  if (integer) return bits ^ 0x80000000u;
  const uint32_t magnitude = bits & 0x7fffffffu;
  if (magnitude == 0) return 0x80000000u;
  if (magnitude > 0x7f800000u) return 0xffffffffu;
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

struct SortedRows {
  const uint32_t* keys;  // [rows, n]
  const int32_t* from;   // [rows, n]: where each was
};

// Sorts each of `rows` rows of n keys; stable. `keys` and three more arrays of rows * n elements
// in `scratch` are used up, and hold the result.
SortedRows sort_rows(CudaDevice& device, uint32_t* keys, uint32_t* scratch, int64_t rows,
                     int64_t n);

}  // namespace fused_rnn::cuda
