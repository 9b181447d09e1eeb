// A device's in-order queue: operations are pushed by the JavaScript thread and run by one worker,
// one after the other. When nothing is outstanding on the host, the JavaScript thread may run a
// small one itself: handing it over would take longer than the work. The worker of a GPU's queue
// hands its jobs on to the GPU, which runs them later.
//
// Errors: an operation that throws poisons what it should have written; operations that read
// poisoned memory are skipped and poison theirs. The first failure since the last report is kept
// for take_error(), so that the next promise can reject with it. A GPU tells of bad values when it
// has met them; the rule is then applied to the jobs since (core/job_log.h).
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <initializer_list>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "core/context.h"
#include "core/device.h"
#include "core/job_log.h"
#include "core/storage.h"
#include "core/thread_pool.h"

namespace fused_rnn {

// Buffers that somebody else keeps for as long as this is used.
struct Buffers : std::span<const Buffer> {
  Buffers(std::initializer_list<Buffer> list) : span(list.begin(), list.size()) {}
  Buffers(const std::vector<Buffer>& list) : span(list) {}
};

struct Job {
  std::function<void(Context&)> run;
  std::vector<Buffer> reads;
  std::vector<Buffer> writes;
  const char* op = "";
  // See Queue::one_thread().
  bool one_thread = false;
  // Instead of `run`, for read-backs, which look for the poison themselves. Returns what has failed.
  std::function<std::string(Buffers reads)> report;
  // Tells what waits for the report, once the queue no longer counts the job: who hears of the
  // last one finds it idle().
  std::function<void(std::string error)> settle;
  // On a device: it hands results to the host, so all faults are to be known after it.
  bool settles = false;
  // It writes nothing but `writes`, which nobody has seen before. See Queue::changes().
  bool pure = false;
};

class Queue {
 public:
  // A loop that never waits is held back when this many operations are outstanding.
  static constexpr size_t kHardBound = 2048;
  // JavaScript that waits for room does so while more than so many are, and until no more than so
  // many are left: enough to keep the worker busy meanwhile. Of small ones more, for they take no
  // memory to speak of and a wake-up costs as much as some of them.
  struct Room {
    size_t most, left;
  };
  static constexpr Room kRoom{32, 32}, kRoomForSmall{64, 16};

  // Costs are in floating-point operations, some 40 of which take a nanosecond (engine/cost.h).
  // Whether an operation is over within some 25 µs, so that the JavaScript thread may run it.
  static bool small(int64_t cost) { return cost <= int64_t{1} << 20; }
  // Whether it is over within some 100 µs on one thread. Then it gets no more, wherever it runs:
  // its bits must not depend on where that is, and helpers would meet each other and the JavaScript
  // thread at every step of it.
  static bool one_thread(int64_t cost) { return cost <= int64_t{1} << 22; }

  // `device`: null for the host.
  explicit Queue(int threads, std::shared_ptr<Device> device = nullptr);
  ~Queue();

  // Returns at once unless kHardBound operations are outstanding, or FUSED_RNN_BLOCKING=1 asks for
  // each to be over. After stop() jobs are dropped.
  void push(Job job);

  // Counts the jobs that may have changed what is in memory already, as of what has been pushed:
  // while it stays the same, values that a job has seen are what later jobs see.
  uint64_t changes() const { return changes_; }

  // Whether all that was pushed has run, on the host. Asked by the thread that pushes, it stays
  // true until that thread pushes again, and what the worker wrote is visible. A GPU's queue never
  // is: only its worker hands work to the GPU.
  bool idle() const {
    return outstanding_.load(std::memory_order_acquire) == 0 && device_ == nullptr && !stopping_;
  }

  // Whether a settle() of a job that idle() no longer counts may be under way: what the thread that
  // pushes settles itself could overtake it.
  bool settling() const { return settling_.load(std::memory_order_acquire); }

  // Runs a small operation on the calling thread, which is the one that pushes, while idle().
  template <class F>
  void run_here(const char* op, Buffers reads, Buffers writes, bool pure, F&& f) {
    changes_ += pure ? 0 : 1;
    run_here(op, reads, writes, Task{&f, [](void* f, Context& context) {
                                       (*static_cast<std::remove_reference_t<F>*>(f))(context);
                                     }});
  }

  // Calls `f` on the worker once there is room; returns false, without keeping f, if there is now.
  bool when_room(std::function<void()> f);
  bool has_room() const { return outstanding_.load(std::memory_order_relaxed) <= room().most; }

  // The first failure since the last call; empty if none.
  std::string take_error();

  // Takes effect between two jobs.
  void set_threads(int threads);
  int threads() const { return requested_threads_.load(); }

  // Drops what is outstanding, interrupts what is running, joins. Idempotent. Happens by itself
  // when the process ends.
  void stop();

 private:
  // A reference to a callable.
  struct Task {
    void* f;
    void (*call)(void* f, Context& context);
  };

  const Room& room() const { return large_ > 0 || device_ != nullptr ? kRoom : kRoomForSmall; }
  void work();
  void wait_for_job(std::unique_lock<std::mutex>& lock, bool linger);
  std::string run(Job& job);  // what a report has found
  void run_here(const char* op, Buffers reads, Buffers writes, Task task);
  void run_checked(const char* op, Buffers reads, Buffers writes, Task task, Context& context);
  void release_waiters(std::unique_lock<std::mutex>& lock);
  void remember(std::string error);

  // On the worker of a device's queue.
  void begin_on_device(const Job& job);
  void settle_device();
  void take_faults();

  const std::shared_ptr<Device> device_;
  const bool blocking_;  // FUSED_RNN_BLOCKING=1: on the host, push() runs the job
  JobLog log_;
  uint64_t job_number_ = 0;
  uint64_t changes_ = 0;  // of the thread that pushes
  ThreadPool pool_;
  ThreadPool no_helpers_{1};  // see one_thread()
  std::atomic<bool> stopping_{false};
  std::atomic<int> requested_threads_;
  std::atomic<size_t> outstanding_{0};
  std::atomic<size_t> large_{0};  // of those, what is not for one_thread
  std::atomic<bool> settling_{false};
  std::mutex mutex_;
  std::condition_variable filled_;
  bool asleep_ = false;  // the worker waits on filled_
  std::condition_variable drained_;
  std::deque<Job> jobs_;
  std::vector<std::function<void()>> room_waiters_;
  std::mutex error_mutex_;
  std::string error_;
  std::atomic<bool> failed_{false};  // error_ is not empty
  std::mutex stop_mutex_;
  std::thread worker_;
};

// exit() destroys what the workers may be using, and a process.exit() comes there without
// any cleanup hook: the queues are stopped before. What was registered last is called first, so
// this is called again whenever a library may have registered something that workers use from then
// on. On any thread.
void stop_queues_at_exit();

}  // namespace fused_rnn
