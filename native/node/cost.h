// What operations cost, roughly: in floating-point operations of a product, some 40 of which take a
// nanosecond. Queue::small() decides by it where an operation runs.
#pragma once

#include <cstdint>

namespace fused_rnn::node::cost {

// One element read, a little arithmetic, written.
constexpr int64_t kElement = 16;
// The same with an exponential, a tangent, a logarithm …
constexpr int64_t kFunction = 64;
// A call of the products' library.
constexpr int64_t kCall = 1 << 14;

inline int64_t elements(int64_t n) { return n * kElement; }
inline int64_t functions(int64_t n) { return n * kFunction; }
inline int64_t product(int64_t m, int64_t n, int64_t k) { return kCall + 2 * m * n * k; }

}  // namespace fused_rnn::node::cost
