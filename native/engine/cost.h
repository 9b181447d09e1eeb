// What operations cost, roughly: in floating-point operations of a product, some 40 of which take a
// nanosecond. The queue decides by it where an operation runs, and on how many threads.
#pragma once

#include <cstdint>

namespace fused_rnn::cost {

// n elements read, a little arithmetic, written.
inline int64_t elements(int64_t n) { return 16 * n; }
// The same with an exponential, a tangent, a comparison of neighbours …
inline int64_t functions(int64_t n) { return 64 * n; }
// The same in doubles: a power.
inline int64_t double_functions(int64_t n) { return 128 * n; }
// Random numbers, even or normal.
inline int64_t draws(int64_t n) { return 128 * n; }
inline int64_t normal_draws(int64_t n) { return 256 * n; }
// Functions that are computed one element after the other.
inline int64_t scalar_functions(int64_t n) { return 1024 * n; }

// [m, k] times [k, n]; with few rows the time goes into reading the second matrix.
constexpr int64_t kCall = 1 << 13;
inline int64_t product(int64_t m, int64_t n, int64_t k) { return kCall + (2 * m + 4) * n * k; }

}  // namespace fused_rnn::cost
