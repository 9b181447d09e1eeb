// Arguments of operations that choose elements: by index, by order, at random; and of running sums
// and ranges. The conventions of ops.h hold; `integer` says that values are int32_t, not float.
#pragma once

#include <cstdint>

namespace fused_rnn {

// ---- By index along the middle dimension ------------------------------------------------------

// out[o, i, c] = x[o, index[o, i, c], c]. Elements of any type of four bytes. An index outside
// [0, n) is an error that names `op`.
struct GatherArgs {
  const char* op;
  uint32_t* out;         // [outer, m, inner]
  const uint32_t* x;     // [outer, n, inner]
  const int32_t* index;  // [outer, m, inner]
  int64_t outer, n, m, inner;
};

// out = x, but out[o, index[o, i, c], c] = src[o, i, c], or += it, in the order of i: of several to
// one place the last stays. Errors as gather's. Integers wrap around.
struct ScatterArgs {
  const char* op;
  bool integer, add;
  void* out;             // [outer, n, inner]
  const void* x;         // [outer, n, inner], or null for zeros
  const int32_t* index;  // [outer, m, inner]
  const void* src;       // [outer, m, inner], or null: `number` everywhere
  uint32_t number;       // its bits
  int64_t outer, n, m, inner;
};

// ---- Along the middle dimension ---------------------------------------------------------------

// Running results: out[i] = x[0] + … + x[i], or the product, or, with `linear`, the recurrence
// out[i] = x[i] + a[i] * out[i - 1] (floats only). `reverse` runs from the last element to the
// first; the recurrence is then the adjoint of the other: out[i] = x[i] + a[i + 1] * out[i + 1].
enum class ScanKind : int32_t { sum, product, linear };
struct ScanArgs {
  ScanKind kind;
  bool integer, reverse;
  void* out;       // [outer, n, inner]
  const void* x;   // [outer, n, inner]
  const float* a;  // [outer, n, inner], or null
  int64_t outer, n, inner;
};

// product: of the elements. logsumexp: log of the sum of their exponentials. norm: the p-norm; p may
// be 0 (counts what is not 0) and ±infinity. variance: the sum of squares around the mean over
// max(0, n - p). NaN spreads.
enum class FoldKind : int32_t { product, logsumexp, norm, variance };
struct FoldArgs {
  FoldKind kind;
  bool integer;    // products only; they wrap around
  void* out;       // [outer, inner]
  const void* in;  // [outer, n, inner]
  int64_t outer, n, inner;
  double p;
};

// The first k of each row in order, and where they were. Stable. NaN is larger than any number.
struct SortArgs {
  bool integer, descending;
  uint32_t* values;    // [rows, k] or null
  int32_t* indices;    // [rows, k]
  const uint32_t* in;  // [rows, n]
  int64_t rows, n, k;  // k <= n
};

// ---- Ranges and parts of matrices --------------------------------------------------------------

// out[i] = start + i * step, in double precision; the second half counts from `end` back, so that
// the last one is `end`.
struct RampArgs {
  bool integer;  // rounded towards zero
  void* out;     // [n]
  int64_t n;
  double start, step, end;
};

// out = x where low <= column - row <= high, else 0. Elements of any type of four bytes.
struct BandArgs {
  uint32_t* out;      // [batch, rows, columns]
  const uint32_t* x;  // the same, or null: everywhere `number`
  uint32_t number;
  int64_t batch, rows, columns, low, high;
};

// `samples` classes of each row, each with probability p / sum of p; without replacement no class
// twice. Throws unless the probabilities of every row are finite, not negative, and enough of them
// above 0.
struct MultinomialArgs {
  int32_t* out;    // [rows, samples]
  const float* p;  // [rows, classes]
  int64_t rows, classes, samples;
  bool replacement;
  uint64_t seed, counter;
};

}  // namespace fused_rnn
