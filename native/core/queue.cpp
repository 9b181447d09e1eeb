#include "core/queue.h"

#include <algorithm>
#include <cstdlib>
#include <utility>

namespace fused_rnn {
namespace {

// exit() destroys what the workers may be using, and a script's process.exit() comes there without
// any cleanup hook: the queues are stopped before.
class LiveQueues {
 public:
  static LiveQueues& instance() {
    static auto* queues = new LiveQueues;  // never destroyed
    return *queues;
  }

  void add(Queue* queue) {
    std::lock_guard lock(mutex_);
    if (!registered_) registered_ = std::atexit([] { instance().stop(); }) == 0;
    queues_.push_back(queue);
  }

  void remove(Queue* queue) {
    std::lock_guard lock(mutex_);
    queues_.erase(std::find(queues_.begin(), queues_.end(), queue));
  }

 private:
  void stop() {
    std::lock_guard lock(mutex_);
    for (Queue* queue : queues_) queue->stop();
  }

  std::mutex mutex_;
  std::vector<Queue*> queues_;
  bool registered_ = false;
};

}  // namespace

Queue::Queue(int threads) : pool_(threads), requested_threads_(threads) {
  worker_ = std::thread([this] { work(); });
  LiveQueues::instance().add(this);
}

Queue::~Queue() {
  LiveQueues::instance().remove(this);
  stop();
}

void Queue::push(Job job) {
  {
    std::unique_lock lock(mutex_);
    drained_.wait(lock, [&] { return stopping_ || outstanding_ < kHardBound; });
    if (stopping_) return;
    jobs_.push_back(std::move(job));
    outstanding_ += 1;
  }
  filled_.notify_one();
}

bool Queue::when_room(std::function<void()> f) {
  std::lock_guard lock(mutex_);
  if (stopping_ || outstanding_ <= kSoftBound) return false;
  room_waiters_.push_back(std::move(f));
  return true;
}

std::string Queue::take_error() {
  std::lock_guard lock(error_mutex_);
  return std::exchange(error_, {});
}

void Queue::set_threads(int threads) {
  requested_threads_ = threads;
  push({[this](Context&) { pool_.resize(requested_threads_); }, {}, {}, "setNumThreads", nullptr});
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
  flush_denormals();
  std::unique_lock lock(mutex_);
  for (;;) {
    filled_.wait(lock, [&] { return stopping_ || !jobs_.empty(); });
    if (stopping_) break;
    Job job = std::move(jobs_.front());
    jobs_.pop_front();
    lock.unlock();
    run(job);
    job = {};  // frees what it held before the next one allocates
    lock.lock();
    outstanding_ -= 1;
    if (outstanding_ == kHardBound - 1) drained_.notify_all();
    if (outstanding_ <= kSoftBound && !room_waiters_.empty()) release_waiters(lock);
  }
  jobs_.clear();
}

void Queue::release_waiters(std::unique_lock<std::mutex>& lock) {
  auto waiters = std::exchange(room_waiters_, {});
  lock.unlock();
  for (auto& waiter : waiters) waiter();
  lock.lock();
}

void Queue::run(Job& job) {
  Context context{pool_, stopping_};
  const std::string* inherited = nullptr;
  for (Storage* storage : job.reads) {
    if (storage->poisoned()) inherited = storage->poisoned();
  }
  std::string error;
  try {
    if (job.report) {
      job.report(context, inherited);
      return;
    }
    if (inherited == nullptr) {
      job.run(context);
      return;
    }
    error = *inherited;
  } catch (const Cancelled&) {
    return;
  } catch (const std::exception& e) {
    error = e.what();
    if (error.rfind('[', 0) != 0) error = std::string("[") + job.op + "] " + error;
    std::lock_guard lock(error_mutex_);
    if (error_.empty()) error_ = error;
  }
  for (Storage* storage : job.writes) storage->poison(error);
}

}  // namespace fused_rnn
