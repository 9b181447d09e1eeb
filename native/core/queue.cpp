#include "core/queue.h"

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <string_view>
#include <utility>

#include "core/denormals.h"
#include "core/trace.h"
#include "core/wait.h"

namespace fused_rnn {
namespace {

// How long the worker looks out for another job before it sleeps.
constexpr auto kLinger = std::chrono::microseconds(50);

class LiveQueues {
 public:
  static LiveQueues& instance() {
    static auto* queues = new LiveQueues;  // never destroyed
    return *queues;
  }

  void add(Queue* queue) {
    std::lock_guard lock(mutex_);
    queues_.push_back(queue);
  }

  void remove(Queue* queue) {
    std::lock_guard lock(mutex_);
    queues_.erase(std::find(queues_.begin(), queues_.end(), queue));
  }

  void stop() {
    std::lock_guard lock(mutex_);
    for (Queue* queue : queues_) queue->stop();
  }

 private:
  std::mutex mutex_;
  std::vector<Queue*> queues_;
};

}  // namespace

void stop_queues_at_exit() {
  std::atexit([] { LiveQueues::instance().stop(); });
}

namespace {

// Whether this thread is a queue's worker.
thread_local bool on_worker = false;

bool asked_to_block() {
  const char* value = std::getenv("FUSED_RNN_BLOCKING");
  return value != nullptr && std::string_view(value) == "1";
}

}  // namespace

Queue::Queue(int threads, std::shared_ptr<Device> device)
    : device_(std::move(device)),
      blocking_(device_ == nullptr && asked_to_block()),
      pool_(threads),
      requested_threads_(threads) {
  static const bool stopped_at_exit = (stop_queues_at_exit(), true);
  static_cast<void>(stopped_at_exit);
  if (device_ != nullptr) stop_queues_at_exit();
  worker_ = std::thread([this] { work(); });
  LiveQueues::instance().add(this);
}

Queue::~Queue() {
  LiveQueues::instance().remove(this);
  stop();
}

void Queue::push(Job job) {
  changes_ += job.pure || job.report ? 0 : 1;
  if (blocking_) {
    if (stopping_) return;
    const FlushDenormals flush;
    std::string error = run(job);
    if (job.settle) job.settle(std::move(error));
    return;
  }
  bool wake;
  {
    std::unique_lock lock(mutex_);
    drained_.wait(lock, [&] { return stopping_ || outstanding_ < kHardBound; });
    if (stopping_) return;
    if (!job.one_thread) large_ += 1;
    jobs_.push_back(std::move(job));
    outstanding_ += 1;
    wake = std::exchange(asleep_, false);
  }
  if (wake) filled_.notify_one();
}

bool Queue::when_room(std::function<void()> f) {
  std::lock_guard lock(mutex_);
  if (stopping_ || outstanding_ <= room().most) return false;
  room_waiters_.push_back(std::move(f));
  return true;
}

std::string Queue::take_error() {
  if (!failed_.load(std::memory_order_acquire)) return {};
  std::lock_guard lock(error_mutex_);
  failed_ = false;
  return std::exchange(error_, {});
}

void Queue::set_threads(int threads) {
  requested_threads_ = threads;
  Job job;
  job.run = [this](Context&) { pool_.resize(requested_threads_); };
  job.op = "setNumThreads";
  push(std::move(job));
}

void Queue::stop() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  filled_.notify_all();
  drained_.notify_all();
  std::lock_guard lock(stop_mutex_);
  if (worker_.joinable()) worker_.join();
}

void Queue::work() {
  on_worker = true;
  const FlushDenormals flush;
  try {
    if (device_ != nullptr) device_->enter_thread();
  } catch (const std::exception& e) {
    remember(e.what());  // operations will fail, too
  }
  std::unique_lock lock(mutex_);
  for (bool linger = false;; linger = true) {
    wait_for_job(lock, linger);
    if (stopping_) break;
    Job job = std::move(jobs_.front());
    jobs_.pop_front();
    lock.unlock();
    std::string error = run(job);
    const bool large = !job.one_thread;
    const auto settle = std::move(job.settle);
    job = {};  // frees what it held before the next one allocates
    if (settle) settling_ = true;
    lock.lock();
    outstanding_ -= 1;
    if (large) large_ -= 1;
    if (outstanding_ == kHardBound - 1) drained_.notify_all();
    if (settle) {
      lock.unlock();
      settle(std::move(error));
      settling_ = false;
      lock.lock();
    }
    if (outstanding_ <= room().left && !room_waiters_.empty()) release_waiters(lock);
  }
  jobs_.clear();
  log_.clear();
  if (device_ != nullptr) device_->leave_thread();
}

// After a job the next one is often about to come: looking out for it a little while before going
// to sleep saves the JavaScript thread the system call that wakes this one.
void Queue::wait_for_job(std::unique_lock<std::mutex>& lock, bool linger) {
  if (linger && (pool_.threads() > 1 || device_ != nullptr) && jobs_.empty() && !stopping_) {
    lock.unlock();
    wait_a_while([&] { return outstanding_.load(std::memory_order_relaxed) > 0 || stopping_; },
                 kLinger);
    lock.lock();
  }
  asleep_ = true;
  filled_.wait(lock, [&] { return stopping_ || !jobs_.empty(); });
  asleep_ = false;
}

void Queue::release_waiters(std::unique_lock<std::mutex>& lock) {
  auto waiters = std::exchange(room_waiters_, {});
  lock.unlock();
  for (auto& waiter : waiters) waiter();
  lock.lock();
}

namespace {

// Notes how long an operation takes, while somebody wants to know.
class Traced {
 public:
  Traced(const void* queue, const char* op)
      : queue_(trace::active.load(std::memory_order_relaxed) > 0 ? queue : nullptr),
        event_{op, !on_worker, 0, 0} {
    if (queue_ == nullptr) return;
    event_.begin = trace::now();
  }
  ~Traced() {
    if (queue_ == nullptr) return;
    event_.end = trace::now();
    trace::add(queue_, event_);
  }
  Traced(const Traced&) = delete;
  Traced& operator=(const Traced&) = delete;

 private:
  const void* const queue_;
  trace::Event event_;
};

const std::string* poison_among(Buffers reads) {
  for (const Buffer& buffer : reads) {
    if (buffer && buffer.storage->poisoned()) return buffer.storage->poisoned();
  }
  return nullptr;
}

}  // namespace

std::string Queue::run(Job& job) {
  if (device_ != nullptr) begin_on_device(job);
  if (job.report) return job.report(job.reads);
  Context context{job.one_thread ? no_helpers_ : pool_, stopping_, device_.get()};
  run_checked(job.op, job.reads, job.writes,
              {&job.run, [](void* f, Context& c) { (*static_cast<decltype(&job.run)>(f))(c); }},
              context);
  if (device_ == nullptr) return {};
  if (job.settles) {
    settle_device();
  } else {
    take_faults();
  }
  return {};
}

void Queue::begin_on_device(const Job& job) {
  take_faults();
  if (job.report || log_.full()) settle_device();
  if (job.report) return;
  device_->begin_job(++job_number_);
  log_.add(job_number_, job.reads, job.writes);
}

// Waits for the device; all faults so far are known afterwards.
void Queue::settle_device() {
  try {
    device_->wait();
  } catch (const std::exception& e) {
    remember(e.what());
  }
  take_faults();
  log_.clear();
}

void Queue::take_faults() {
  try {
    while (const std::optional<DeviceFault> fault = device_->take_fault()) {
      remember(fault->message);
      log_.poison(*fault);
    }
  } catch (const std::exception& e) {
    remember(e.what());
  }
}

// For take_error(), unless there is an earlier one.
void Queue::remember(std::string error) {
  std::lock_guard lock(error_mutex_);
  if (error_.empty()) error_ = std::move(error);
  failed_.store(true, std::memory_order_release);
}

void Queue::run_here(const char* op, Buffers reads, Buffers writes, Task task) {
  const FlushDenormals flush;
  Context context{no_helpers_, stopping_};
  run_checked(op, reads, writes, task, context);
}

void Queue::run_checked(const char* op, Buffers reads, Buffers writes, Task task,
                        Context& context) {
  const Traced traced(this, op);
  std::string error;
  try {
    const std::string* inherited = poison_among(reads);
    if (inherited == nullptr) return task.call(task.f, context);
    error = *inherited;
  } catch (const Cancelled&) {
    return;
  } catch (const std::exception& e) {
    error = e.what();
    if (error.rfind('[', 0) != 0) error = std::string("[") + op + "] " + error;
    remember(error);
  }
  for (const Buffer& buffer : writes) {
    if (buffer) buffer.storage->poison(error);
  }
}

}  // namespace fused_rnn
