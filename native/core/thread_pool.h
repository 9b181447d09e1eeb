// Fork and join for the kernels: the calling thread and its helpers share the parts of one loop.
// Which thread does which part depends on the sizes and the thread count alone.
#pragma once

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

namespace fused_rnn {

class ThreadPool {
 public:
  // `processors`: 0 for those that this process may use; tests give more.
  explicit ThreadPool(int threads, int processors = 0);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  // As many as asked for, but no more than the processors: those would take each other's time.
  int threads() const { return threads_; }
  // Takes effect at the next parallel call. Call from the thread that runs the kernels.
  void resize(int threads);

  // f(task) for every task in [0, tasks); task i runs on thread i % threads().
  // The first exception thrown by a task is rethrown here.
  template <class F>
  void parallel(int tasks, F&& f) {
    if (tasks <= 1 || threads_ == 1) {
      for (int i = 0; i < tasks; ++i) f(i);
      return;
    }
    run(
        tasks, [](void* context, int task) { (*static_cast<F*>(context))(task); },
        const_cast<void*>(static_cast<const void*>(&f)));
  }

  // f(begin, end) over [0, n), in at most threads() parts of at least `grain` each.
  template <class F>
  void parallel_for(int64_t n, int64_t grain, F&& f) {
    if (n <= 0) return;
    const int64_t most = (n + grain - 1) / grain;
    const int parts = static_cast<int>(most < threads_ ? most : threads_);
    parallel(parts, [&](int i) { f(n * i / parts, n * (i + 1) / parts); });
  }

 private:
  using Task = void (*)(void* context, int task);
  void run(int tasks, Task task, void* context);
  void share(int thread);
  void helper(int thread, uint64_t seen);
  void start(int threads);
  void stop();

  const int processors_;
  int threads_ = 1;
  std::vector<std::thread> helpers_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::condition_variable done_;
  std::atomic<uint64_t> generation_{0};
  std::atomic<int> unfinished_{0};
  int asleep_ = 0;  // helpers that wait for wake_
  bool stopping_ = false;

  int tasks_ = 0;
  Task task_ = nullptr;
  void* context_ = nullptr;
  std::mutex error_mutex_;
  std::exception_ptr error_;
};

}  // namespace fused_rnn
