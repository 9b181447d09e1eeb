// Counter-based random numbers: Philox 4x32-10 (Salmon et al., "Parallel random numbers: as easy as
// 1, 2, 3", SC 2011). The number for an element is a function of (seed, counter, element), so it
// does not depend on threads or order, and backward can draw the same mask again.
#pragma once

#include <cstdint>

#if defined(__CUDACC__)
#define FUSED_RNN_HD __host__ __device__
#else
#define FUSED_RNN_HD
#endif

namespace fused_rnn {

struct RandomBlock {
  uint32_t x[4];
};

// What multiplies the first and the third word, and what each half of the key grows by at a round.
// Not arrays: device code has no access to their elements.
constexpr uint32_t kPhiloxFirst = 0xD2511F53, kPhiloxThird = 0xCD9E8D57;
constexpr uint32_t kPhiloxLowKey = 0x9E3779B9, kPhiloxHighKey = 0xBB67AE85;

// Four 32-bit numbers: block `index` of the stream `counter` of `seed`.
FUSED_RNN_HD inline RandomBlock philox(uint64_t seed, uint64_t counter, uint64_t index) {
  uint32_t c0 = static_cast<uint32_t>(index), c1 = static_cast<uint32_t>(index >> 32);
  uint32_t c2 = static_cast<uint32_t>(counter), c3 = static_cast<uint32_t>(counter >> 32);
  uint32_t k0 = static_cast<uint32_t>(seed), k1 = static_cast<uint32_t>(seed >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{kPhiloxFirst} * c0;
    const uint64_t p1 = uint64_t{kPhiloxThird} * c2;
    c0 = static_cast<uint32_t>(p1 >> 32) ^ c1 ^ k0;
    c1 = static_cast<uint32_t>(p1);
    c2 = static_cast<uint32_t>(p0 >> 32) ^ c3 ^ k1;
    c3 = static_cast<uint32_t>(p0);
    k0 += kPhiloxLowKey;
    k1 += kPhiloxHighKey;
  }
  return {{c0, c1, c2, c3}};
}

// In [0, 1), 24 bits.
FUSED_RNN_HD inline float uniform(uint32_t bits) {
  return static_cast<float>(bits >> 8) * (1.0f / 16777216.0f);
}

}  // namespace fused_rnn
