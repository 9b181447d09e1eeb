#include "core/thread_pool.h"

#include <system_error>

#include "core/denormals.h"

#if defined(__SSE2__)
#include <immintrin.h>
#endif

namespace fused_rnn {
namespace {

// Long enough to bridge the gap between two kernels, short enough not to starve other threads.
constexpr int kSpins = 10000;

}  // namespace

void pause_thread() {
#if defined(__SSE2__)
  _mm_pause();
#else
  std::this_thread::yield();
#endif
}

ThreadPool::ThreadPool(int threads) { start(threads); }
ThreadPool::~ThreadPool() { stop(); }

void ThreadPool::resize(int threads) {
  if (threads == threads_) return;
  stop();
  start(threads);
}

void ThreadPool::start(int threads) {
  stopping_ = false;
  const uint64_t seen = generation_.load();
  try {
    for (int i = 1; i < threads; ++i) {
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
  {
    std::lock_guard lock(mutex_);
    tasks_ = tasks;
    task_ = task;
    context_ = context;
    error_ = nullptr;
    unfinished_.store(threads_ - 1, std::memory_order_relaxed);
    generation_.fetch_add(1, std::memory_order_release);
  }
  wake_.notify_all();
  share(0);
  for (int spins = 0; unfinished_.load(std::memory_order_acquire) != 0; ++spins) {
    if (spins < kSpins) {
      pause_thread();
    } else {
      std::this_thread::yield();
    }
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
  for (;;) {
    for (int i = 0; i < kSpins && generation_.load(std::memory_order_acquire) == seen; ++i)
      pause_thread();
    if (generation_.load(std::memory_order_acquire) == seen) {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [&] { return stopping_ || generation_.load() != seen; });
      if (generation_.load() == seen) return;
    }
    seen = generation_.load(std::memory_order_acquire);
    share(thread);
    unfinished_.fetch_sub(1, std::memory_order_release);
  }
}

}  // namespace fused_rnn
