#include "distributed/process_group.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <utility>

#if defined(__linux__)
#include <sys/prctl.h>
#endif

#include "core/context.h"
#include "distributed/collective_text.h"

namespace fused_rnn::distributed {
namespace {

using Clock = std::chrono::steady_clock;

double since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

// Between two looks at a collective: the core belongs to those who compute. A large message takes
// many of them.
constexpr auto kShortestPause = std::chrono::microseconds(5);
constexpr auto kLongestPause = std::chrono::microseconds(200);
// Collectives that take longer than this look for processes that have left before them.
constexpr double kPatience = 0.01;

constexpr const char* kLeftOut =
    "this process has left out a collective, since an operation before it failed or was dropped, "
    "and "
    "cannot go on with the others";

}  // namespace

ProcessGroup& ProcessGroup::instance() {
  static auto* group = new ProcessGroup;
  return *group;
}

bool ProcessGroup::open(std::unique_lock<std::mutex>&) {
  if (!opened_) mpi_ = open_mpi(missing_);
  opened_ = true;
  return mpi_ != nullptr;
}

std::string ProcessGroup::missing() {
  std::unique_lock lock(mutex_);
  open(lock);
  return missing_;
}

std::string ProcessGroup::version() {
  std::unique_lock lock(mutex_);
  return open(lock) ? mpi_->version() : std::string();
}

void ProcessGroup::join(bool nccl, double timeout_seconds) {
  std::unique_lock lock(mutex_);
  if (!open(lock)) throw std::runtime_error(missing_);
  if (state_ != State::out)
    throw std::runtime_error("this process is in a group already, or on its way");
  if (!broken_.empty()) throw std::runtime_error(broken_);
  if (ended_) throw std::runtime_error("the process is ending");
  nccl_ = nccl;
  devices_.clear();
  watchdog_.start(timeout_seconds);
  change(State::joining);
  if (thread_.joinable()) return;
  thread_ = std::thread([this] { work(); });
  // For an environment that is gone without an exit event of its own.
  std::atexit([] { instance().end(1); });
}

void ProcessGroup::leave() {
  std::unique_lock lock(mutex_);
  if (state_ != State::joined) throw std::runtime_error("this process is in no group");
  if (!broken_.empty()) throw std::runtime_error(broken_);
  change(State::leaving);
}

void ProcessGroup::change(State state) {
  change_error_.clear();
  state_ = state;
  asked_.notify_all();
}

void ProcessGroup::expect_usable() const {
  if (!broken_.empty()) throw std::runtime_error(broken_);
  if (state_ != State::joined) throw std::runtime_error("this process is in no group");
}

uint64_t ProcessGroup::nccl_number() {
  std::lock_guard lock(mutex_);
  expect_usable();
  return nccl_drawn_++;
}

bool ProcessGroup::is_new(const void* device) {
  std::lock_guard lock(mutex_);
  return devices_.insert(device).second;
}

void ProcessGroup::watch(NcclProgress progress) {
  watchdog_.add([progress = std::move(progress)]() -> std::string {
    const auto wait = progress();
    return wait ? numbered(wait->collective, wait->number) + " by NCCL," : std::string();
  });
}

uint64_t ProcessGroup::ticket() {
  std::lock_guard lock(mutex_);
  expect_usable();
  entries_.emplace(drawn_, Entry{});
  return drawn_++;
}

void ProcessGroup::submit(uint64_t ticket, Call call) {
  std::lock_guard lock(mutex_);
  Entry& entry = entries_.at(ticket);
  entry.call = std::move(call);
  if (!broken_.empty()) give_up(entry);
  asked_.notify_all();
}

void ProcessGroup::skip_number() noexcept { refuse(kLeftOut); }

void ProcessGroup::skip(uint64_t ticket) noexcept {
  std::lock_guard lock(mutex_);
  break_off(kLeftOut);
  const auto found = entries_.find(ticket);
  if (found != entries_.end()) give_up(found->second);
}

void ProcessGroup::refuse(std::string why) {
  std::lock_guard lock(mutex_);
  break_off(std::move(why));
}

void ProcessGroup::break_off(std::string why) {
  if (broken_.empty()) broken_ = std::move(why);
  for (auto& [ticket, entry] : entries_) {
    if (entry.call && !entry.over && &entry != under_way_) give_up(entry);
  }
  asked_.notify_all();
}

void ProcessGroup::give_up(Entry& entry) {
  entry.over = true;
  entry.error = broken_;
  settled_.notify_all();
}

template <class F>
void ProcessGroup::wait_until(std::unique_lock<std::mutex>& lock, const std::atomic<bool>& stopping,
                              F f) {
  while (!settled_.wait_for(lock, std::chrono::milliseconds(20), f)) {
    if (stopping.load(std::memory_order_relaxed)) throw Cancelled{};
  }
}

Call ProcessGroup::wait(uint64_t ticket, const std::atomic<bool>& stopping) {
  std::unique_lock lock(mutex_);
  const auto begin = Clock::now();
  Entry& entry = entries_.at(ticket);
  wait_until(lock, stopping, [&] { return entry.over; });
  traffic_.waited += since(begin);
  const std::string error = std::move(entry.error);
  Call call = entry.call.value_or(Call{});
  entries_.erase(ticket);
  if (!error.empty()) throw std::runtime_error(error);
  return call;
}

void ProcessGroup::wait_for_change(const std::atomic<bool>& stopping) {
  std::unique_lock lock(mutex_);
  wait_until(lock, stopping, [&] { return state_ == State::joined || state_ == State::out; });
  if (!change_error_.empty()) throw std::runtime_error(std::exchange(change_error_, {}));
}

Traffic ProcessGroup::traffic() {
  std::lock_guard lock(mutex_);
  return traffic_;
}

void ProcessGroup::work() {
#if defined(__linux__)
  // Pauses are as short as they say.
  prctl(PR_SET_TIMERSLACK, 1000UL, 0, 0, 0);
#endif
  std::unique_lock lock(mutex_);
  for (;;) {
    const auto next = [&] {
      const auto found = entries_.find(next_);
      const bool ready = broken_.empty() && found != entries_.end() && found->second.call;
      return ready ? &found->second : nullptr;
    };
    // Tickets that are still to come from a queue are waited for also when the process ends.
    asked_.wait(lock, [&] {
      const bool done = next_ == drawn_ || !broken_.empty();
      return abort_ || next() != nullptr || state_ == State::joining ||
             (done && (ending_ || state_ == State::leaving));
    });
    if (abort_) break;
    if (Entry* entry = next()) {
      carry_out(lock, *entry);
      next_ += 1;
    } else if (state_ == State::joining || state_ == State::leaving) {
      carry_out_change(lock);
    } else {
      break;
    }
  }
  const std::string broken = broken_;
  lock.unlock();
  finish(broken);
}

void ProcessGroup::carry_out(std::unique_lock<std::mutex>& lock, Entry& entry) {
  const Call call = *entry.call;
  under_way_ = &entry;
  lock.unlock();
  const auto begin = Clock::now();
  std::string error;
  try {
    const Watchdog::Wait wait(watchdog_, numbered(call, next_ - first_), Watchdog::Kind::hears);
    error = difference(call);
    if (error.empty()) {
      mpi_->start(call);
      if (!poll(true)) error = left_;
    }
  } catch (const std::exception& e) {
    error = e.what();
  }
  lock.lock();
  under_way_ = nullptr;
  traffic_.calls += 1;
  traffic_.bytes += 4 * call.count;
  traffic_.seconds += since(begin);
  if (!error.empty()) {
    entry.error = error.starts_with('[') ? error  // the watchdog's
                                         : std::string("[") + name_of(call.kind) + "] " + error;
    entry.over = true;
    break_off("a collective has failed before: " + entry.error);
  }
  entry.over = true;
  settled_.notify_all();
}

std::string ProcessGroup::difference(const Collective& own) {
  if (size_ == 1) return {};
  calls_.resize(static_cast<size_t>(size_));
  calls_[static_cast<size_t>(rank_)] = own;
  static_assert(sizeof(Collective) % 4 == 0);
  Call gather{{.kind = CollectiveKind::all_gather,
               .dtype = DType::int32,
               .count = sizeof(Collective) / 4,
               .data = calls_.data()}};
  mpi_->start(gather);
  if (!poll(true)) return left_;
  for (size_t rank = 1; rank < calls_.size() && !abort_; ++rank) {
    if (same(calls_[rank], calls_[0])) continue;
    return "expected the same call in all processes, got " + describe(calls_[0]) +
           " on rank 0 and " + describe(calls_[rank]) + " on rank " + std::to_string(rank);
  }
  return {};
}

void ProcessGroup::carry_out_change(std::unique_lock<std::mutex>& lock) {
  const bool joining = state_ == State::joining;
  const bool first = !std::exchange(initialised_, true);
  const std::string broken = broken_;
  lock.unlock();
  std::string error;
  try {
    // Inside MPI's own waits, which do not hear; leaving goes by poll().
    const Watchdog::Wait wait(watchdog_, joining ? "[init]" : "[destroy]",
                              joining ? Watchdog::Kind::blocked : Watchdog::Kind::hears);
    if (joining) {
      if (first) mpi_->init();
      first_ = next_;
      mpi_->join();
    } else if (broken.empty()) {
      leave_others();
    } else {
      error = broken;
    }
  } catch (const std::exception& e) {
    error = e.what();
  }
  lock.lock();
  rank_ = mpi_->rank();
  size_ = mpi_->size();
  watchdog_.set_rank(rank_, size_);
  if (joining && error.empty() && size_ == 1 && launched_processes() > 1) {
    error = "a launcher has started " + std::to_string(launched_processes()) + " processes, but " +
            mpi_->version() +
            " sees only this one: it belongs to another launcher; set FUSED_RNN_MPI to the library "
            "of the launcher's MPI";
  }
  if (!error.empty()) broken_ = error;
  change_error_ = error;
  traffic_ = {};
  state_ = joining && error.empty() ? State::joined : State::out;
  settled_.notify_all();
}

void ProcessGroup::leave_others() {
  // Only this thread changes next_.
  mpi_->say_left(static_cast<int64_t>(next_ - first_));
  mpi_->start_leaving();
  if (!poll(false)) throw std::runtime_error(left_);
  if (!abort_) mpi_->end_leaving();
}

bool ProcessGroup::poll(bool whoever_leaves) {
  const auto begin = Clock::now();
  std::chrono::microseconds pause = kShortestPause;
  while (!mpi_->test()) {
    if (abort_) return true;
    if (watchdog_.expired()) {
      left_ = watchdog_.why();
      return false;
    }
    const double seconds = since(begin);
    if (whoever_leaves && seconds > kPatience) {
      const int who = mpi_->who_left(static_cast<int64_t>(next_ - first_));
      if (who >= 0) {
        left_ = "the process of rank " + std::to_string(who) + " has left the group";
        return false;
      }
    }
    if (seconds < 20e-6) {
      std::this_thread::yield();
    } else {
      std::this_thread::sleep_for(pause);
      pause = std::min(2 * pause, std::chrono::microseconds(kLongestPause));
    }
  }
  return true;
}

void ProcessGroup::end(int code) noexcept {
  std::unique_lock lock(mutex_);
  if (std::exchange(ended_, true) || !thread_.joinable()) return;
  code_ = code;
  const bool joining = state_ == State::joining;
  const bool alone = size_ <= 1 || (state_ == State::out && broken_.empty());
  if (code != 0 && (joining || !alone)) abort_ = true;
  ending_ = true;
  asked_.notify_all();
  lock.unlock();
  // Inside MPI it may be waiting for a process that is not there yet; the launcher ends all.
  if (joining && abort_) return thread_.detach();
  thread_.join();
  watchdog_.stop();
}

// On the thread, which does nothing after it.
void ProcessGroup::finish(std::string broken) {
  if (!initialised_) return;
  try {
    const Watchdog::Wait wait(watchdog_, "the end of the process", Watchdog::Kind::hears);
    if (mpi_->size() == 1) return mpi_->finalize();
    if (!abort_ && broken.empty() && joined()) leave_others();
    if (!abort_ && broken.empty()) return mpi_->finalize();
  } catch (const std::exception& e) {
    broken = e.what();
  }
  if (code_ == 0) {  // JavaScript does not know
    code_ = 1;
    if (!watchdog_.expired())  // which has said so
      std::fprintf(stderr, "fused-rnn: rank %d: %s\n", mpi_->rank(), broken.c_str());
  }
  watchdog_.exit_soon(code_);
  // What has been printed is to come before what the launcher will say.
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  if (watchdog_.expired()) end_launcher();
  mpi_->abort(code_);
}

}  // namespace fused_rnn::distributed
