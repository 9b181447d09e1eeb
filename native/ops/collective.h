// What processes that train together do together: every one of them makes the same collectives in
// the same order.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>

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

// A collective of NCCL that a GPU has come to and that is not over.
struct NcclWait {
  uint64_t number;
  Collective collective;
};
// Asks for it; any thread, and never waits for the GPU.
using NcclProgress = std::function<std::optional<NcclWait>()>;

}  // namespace fused_rnn
