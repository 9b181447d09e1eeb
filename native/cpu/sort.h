// Sorting words whose upper half is a key and whose lower half a position.
#pragma once

#include <cstdint>

#include "cpu/isa.h"

FUSED_RNN_KERNELS_BEGIN

// Sorts by the keys; stable. Both arrays have n words; the one that is returned has the result.
uint64_t* sort_words(uint64_t* x, uint64_t* other, int64_t n);

// The k words of the smallest keys among n, in order. The arrays have `room` words each, at least
// min(n, 2 * k) + 64; one of them is returned.
uint64_t* first_words(uint64_t* some, uint64_t* other, int64_t k, int64_t room, int64_t n,
                      const uint32_t* keys);

FUSED_RNN_KERNELS_END
