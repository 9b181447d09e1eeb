// Where the threads that share a loop meet: each waits until all have come.
#pragma once

#include <atomic>
#include <condition_variable>
#include <mutex>

#include "core/context.h"

namespace fused_rnn {

class Barrier {
 public:
  // Throws what context.check_stop() throws where the others, which may have left that way, are
  // long in coming.
  void wait(int members, const Context& context);

 private:
  void sleep(int round, const Context& context);

  static constexpr int kMostLooks = 2048, kFewestLooks = 64;

  alignas(64) std::atomic<int> arrived_{0};
  alignas(64) std::atomic<int> round_{0};
  std::atomic<int> looks_{kMostLooks};
  std::atomic<int> sleepers_{0};
  std::mutex mutex_;
  std::condition_variable over_;
};

}  // namespace fused_rnn
