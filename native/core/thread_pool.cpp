#include "core/thread_pool.h"

#include <system_error>

#include "core/denormals.h"
#include "core/processors.h"
#include "core/wait.h"

namespace fused_rnn {
namespace {

// Long enough to bridge the gap between two kernels, short enough not to starve other threads.
constexpr auto kLinger = std::chrono::microseconds(150);

int processors_of_process() {
  static const int count = usable_processors().count;
  return count;
}

}  // namespace

ThreadPool::ThreadPool(int threads, int processors)
    : processors_(processors > 0 ? processors : processors_of_process()) {
  start(threads);
}
ThreadPool::~ThreadPool() { stop(); }

void ThreadPool::resize(int threads) {
  if (std::min(threads, processors_) == threads_) return;
  stop();
  start(threads);
}

void ThreadPool::start(int threads) {
  stopping_ = false;
  const uint64_t seen = generation_.load();
  try {
    for (int i = 1; i < std::min(threads, processors_); ++i) {
      helpers_.emplace_back([this, i, seen] { helper(i, seen); });
    }
  } catch (const std::system_error&) {
    // The system gives no more threads: those that there are share the work.
  }
  threads_ = static_cast<int>(helpers_.size()) + 1;
}

void ThreadPool::stop() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  for (auto& thread : helpers_) thread.join();
  helpers_.clear();
}

void ThreadPool::run(int tasks, Task task, void* context) {
  bool wake;
  {
    std::lock_guard lock(mutex_);
    tasks_ = tasks;
    task_ = task;
    context_ = context;
    error_ = nullptr;
    unfinished_.store(threads_ - 1, std::memory_order_relaxed);
    generation_.fetch_add(1, std::memory_order_release);
    wake = asleep_ > 0;
  }
  if (wake) wake_.notify_all();
  share(0);
  const auto finished = [&] { return unfinished_.load(std::memory_order_acquire) == 0; };
  if (!wait_a_while(finished, kLinger)) {
    std::unique_lock lock(mutex_);
    done_.wait(lock, finished);
  }
  if (error_) std::rethrow_exception(error_);
}

void ThreadPool::share(int thread) {
  try {
    for (int i = thread; i < tasks_; i += threads_) task_(context_, i);
  } catch (...) {
    std::lock_guard lock(error_mutex_);
    if (!error_) error_ = std::current_exception();
  }
}

void ThreadPool::helper(int thread, uint64_t seen) {
  const FlushDenormals flush;
  const auto called = [&] { return generation_.load(std::memory_order_acquire) != seen; };
  for (;;) {
    if (!wait_a_while(called, kLinger)) {
      std::unique_lock lock(mutex_);
      asleep_ += 1;
      wake_.wait(lock, [&] { return stopping_ || called(); });
      asleep_ -= 1;
      if (!called()) return;
    }
    seen = generation_.load(std::memory_order_acquire);
    share(thread);
    if (unfinished_.fetch_sub(1, std::memory_order_acq_rel) == 1) {
      // The caller has looked before it slept, or holds the mutex and is about to look.
      std::lock_guard lock(mutex_);
      done_.notify_all();
    }
  }
}

}  // namespace fused_rnn
