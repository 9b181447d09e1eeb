#include "core/barrier.h"

#include <chrono>

#include "core/wait.h"

namespace fused_rnn {

void Barrier::wait(int members, const Context& context) {
  if (members == 1) return;
  const int round = round_.load(std::memory_order_relaxed);
  if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == members) {
    arrived_.store(0, std::memory_order_relaxed);
    // A thread that goes to sleep counts itself before its last look at the round: one of
    // the two sees the other.
    round_.store(round + 1, std::memory_order_seq_cst);
    if (sleepers_.load(std::memory_order_seq_cst) > 0) {
      std::lock_guard lock(mutex_);
      over_.notify_all();
    }
    return;
  }
  const auto over = [&] { return round_.load(std::memory_order_acquire) != round; };
  // After looking in vain, a thread lets others run sooner the next time.
  const int looks = looks_.load(std::memory_order_relaxed);
  for (int i = 0; i < looks; ++i) {
    if (over()) {
      if (looks < kMostLooks) looks_.store(2 * looks, std::memory_order_relaxed);
      return;
    }
    pause_thread();
  }
  if (looks > kFewestLooks) looks_.store(looks / 2, std::memory_order_relaxed);
  if (!wait_a_while(over, std::chrono::microseconds(200), 0)) sleep(round, context);
}

void Barrier::sleep(int round, const Context& context) {
  struct Sleeper {
    std::atomic<int>& count;
    explicit Sleeper(std::atomic<int>& sleepers) : count(sleepers) { count += 1; }
    ~Sleeper() { count -= 1; }
  } sleeper(sleepers_);
  std::unique_lock lock(mutex_);
  while (round_.load(std::memory_order_seq_cst) == round) {
    context.check_stop();
    over_.wait_for(lock, std::chrono::milliseconds(20));
  }
}

}  // namespace fused_rnn
