// The CPU device's in-order queue: operations are pushed by the script's thread and run by one
// worker, one after the other.
//
// Errors: an operation that throws poisons what it should have written; operations that read
// poisoned memory are skipped and poison theirs. The first failure since the last report is kept
// for take_error(), so that the next promise can reject with it.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "core/context.h"
#include "core/storage.h"
#include "core/thread_pool.h"

namespace fused_rnn {

struct Job {
  std::function<void(Context&)> run;
  // Kept alive by what `run` captures.
  std::vector<Storage*> reads;
  std::vector<Storage*> writes;
  const char* op = "";
  // Runs even when an input is poisoned; gets the reason, or null. Read-backs use it.
  std::function<void(Context&, const std::string* error)> report;
};

class Queue {
 public:
  // A loop that never waits is held back when this many operations are outstanding.
  static constexpr size_t kHardBound = 2048;
  // on_room() fires when no more than this many are: enough to keep the worker busy meanwhile.
  static constexpr size_t kSoftBound = 32;

  explicit Queue(int threads);
  ~Queue();

  // Returns at once unless kHardBound operations are outstanding. After stop() jobs are dropped.
  void push(Job job);

  // Calls `f` on the worker once there is room; returns false, without keeping f, if there is now.
  bool when_room(std::function<void()> f);

  // The first failure since the last call; empty if none.
  std::string take_error();

  // Takes effect between two jobs.
  void set_threads(int threads);
  int threads() const { return requested_threads_.load(); }

  // Drops what is outstanding, interrupts what is running, joins. Idempotent. Happens by itself
  // when the process ends.
  void stop();

 private:
  void work();
  void run(Job& job);
  void release_waiters(std::unique_lock<std::mutex>& lock);

  ThreadPool pool_;
  std::atomic<bool> stopping_{false};
  std::atomic<int> requested_threads_;
  std::atomic<size_t> outstanding_{0};
  std::mutex mutex_;
  std::condition_variable filled_;
  std::condition_variable drained_;
  std::deque<Job> jobs_;
  std::vector<std::function<void()>> room_waiters_;
  std::mutex error_mutex_;
  std::string error_;
  std::mutex stop_mutex_;
  std::thread worker_;
};

}  // namespace fused_rnn
