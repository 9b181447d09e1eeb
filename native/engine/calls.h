// Operations on a queue that the addon and native programs share: each allocates its outputs beside
// its inputs, says what it costs and enqueues the backend's operation of the same name. Sizes are
// the caller's to check.
#pragma once

#include <cstdint>
#include <string>

#include "engine/executor.h"

namespace fused_rnn {

// x [m, in], w [out, in], b [out] or absent → y [m, out]. `inference`: w is expected to stay as it
// is for many calls (kept_weights.h).
Buffer linear(Executor& executor, const Buffer& x, const Buffer& w, const Buffer& b, int64_t m,
              int64_t in, int64_t out, bool inference = false);

struct LinearGradients {
  Buffer dx, dw, db;  // absent where not wanted
};
// dw is wanted where there is x, dx where there is w. dy may be the gradient of a cross entropy
// that nobody has written down.
LinearGradients linear_backward(Executor& executor, const Buffer& dy, const Buffer& x,
                                const Buffer& w, int64_t m, int64_t in, int64_t out, bool bias);

struct CrossEntropyCall {
  Buffer logits;  // [n, classes]
  Buffer target;  // int32 [n]
  CrossEntropyShape shape;
  Buffer weight = {};  // [classes] or absent
  int64_t losses() const { return shape.reduction == Reduction::none ? shape.n : 1; }
  int64_t cost() const { return cost::functions(shape.n * shape.classes); }
};
struct CrossEntropyOutput {
  Buffer loss;  // [losses()]
  Buffer lse;   // [n], for backward
};
CrossEntropyOutput cross_entropy(Executor& executor, const CrossEntropyCall& call);
// → dlogits; with `defer` they are written only if somebody reads them as numbers.
Buffer cross_entropy_backward(Executor& executor, const CrossEntropyCall& call, const Buffer& lse,
                              const Buffer& dloss, bool defer);

struct RowsShape {
  int64_t outer, rows, width;
};
// x [outer, rows, width] → the rows that `index`, int32 [n], names: [outer, n, width] of x's type,
// with fill_absent `fill` where it is -1. `op` is named in errors about indices.
Buffer gather_rows(Executor& executor, std::string op, const Buffer& x, const Buffer& index,
                   const RowsShape& shape, bool fill_absent = false, uint32_t fill = 0);
// dy [outer, n, width] → dx [outer, rows, width]; row `skip` gets none, unless -1.
Buffer scatter_add_rows(Executor& executor, const Buffer& dy, const Buffer& index,
                        const RowsShape& shape, int64_t skip);

struct RandomStream {
  uint64_t seed;
  uint64_t counter;
};
Buffer dropout(Executor& executor, const Buffer& x, float p, const RandomStream& stream);
// logits [n, classes] → int32 [n]
Buffer sample(Executor& executor, const Buffer& logits, int64_t n, int64_t classes,
              float temperature, int64_t top_k, const RandomStream& stream);
void random_into(Executor& executor, const Buffer& out, RandomKind kind, float a, float b,
                 const RandomStream& stream);
// int32 indices [n] → [n, classes], whose values are written when somebody reads them.
Buffer one_hot(Executor& executor, const Buffer& indices, int64_t classes);

}  // namespace fused_rnn
