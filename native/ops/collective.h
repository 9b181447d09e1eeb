// What processes that train together do together: every one of them makes the same collectives in
// the same order.
#pragma once

#include <cstdint>

#include "fused_rnn/dtype.h"

namespace fused_rnn {

enum class CollectiveKind : int32_t { all_reduce, broadcast, all_gather, barrier };
enum class Reduce : int32_t { sum, min, max, product };

struct Collective {
  CollectiveKind kind = CollectiveKind::barrier;
  Reduce op = Reduce::sum;
  DType dtype = DType::float32;
  int root = 0;       // of broadcast
  int64_t count = 0;  // elements of one process
  // [count], in place; of all_gather [processes, count], with this process's part filled
  void* data = nullptr;
};

}  // namespace fused_rnn
