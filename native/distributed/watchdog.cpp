#include "distributed/watchdog.h"

#include <unistd.h>
#if !defined(_WIN32)
#include <poll.h>
#endif

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <utility>

#include "distributed/mpi.h"

namespace fused_rnn::distributed {
namespace {

// For the error to reach the user's code, and for MPI_Abort, which a cut network may hold up.
constexpr double kGrace = 10;
constexpr double kLongestTick = 1;
// A tick that took longer than so many of its kind was not waiting: the process was stopped.
constexpr double kMostTicks = 10;

double now_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

std::string format_seconds(double seconds) {
  char text[32];
  std::snprintf(text, sizeof text, "%.3g s", seconds);
  if (seconds >= 100) std::snprintf(text, sizeof text, "%.0f s", seconds);
  return text;
}

// Not by stdio, whose lock another thread may hold, and not to a full pipe that nobody reads.
void print(const std::string& line) {
#if !defined(_WIN32)
  pollfd out{.fd = STDERR_FILENO, .events = POLLOUT, .revents = 0};
  if (poll(&out, 1, 1000) <= 0) return;
#endif
  [[maybe_unused]] const auto written = write(STDERR_FILENO, line.data(), line.size());
}

}  // namespace

void Watchdog::start(double timeout_seconds) {
  std::lock_guard lock(mutex_);
  timeout_ = timeout_seconds;
  probes_.clear();
  rank_ = launched_rank();
  size_ = launched_processes();
  if (!thread_.joinable()) thread_ = std::thread([this] { work(); });
  changed_.notify_all();  // its ticks may be others
}

void Watchdog::set_timeout(double seconds) {
  std::lock_guard lock(mutex_);
  timeout_ = seconds;
  changed_.notify_all();
}

void Watchdog::set_rank(int rank, int size) {
  std::lock_guard lock(mutex_);
  rank_ = rank;
  size_ = size;
}

void Watchdog::add(Probe probe) {
  std::lock_guard lock(mutex_);
  probes_.push_back({std::move(probe)});
}

void Watchdog::stop() noexcept {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
    changed_.notify_all();
  }
  if (thread_.joinable()) thread_.join();
}

std::string Watchdog::why() {
  std::lock_guard lock(mutex_);
  return why_;
}

void Watchdog::exit_soon(int code) noexcept {
  std::lock_guard lock(mutex_);
  exit_code_ = code;
  if (exit_in_ < 0) exit_in_ = kGrace;
}

uint64_t Watchdog::enter(std::string what, Kind kind) {
  std::lock_guard lock(mutex_);
  entries_.emplace(next_, Entry{std::move(what), kind, now_seconds()});
  return next_++;
}

void Watchdog::leave(uint64_t id) {
  std::lock_guard lock(mutex_);
  entries_.erase(id);
}

void Watchdog::work() {
  std::unique_lock lock(mutex_);
  double last = now_seconds();
  while (!stopping_) {
    const double length = std::min(kLongestTick, timeout_ / 20);
    changed_.wait_for(lock, std::chrono::duration<double>(length));
    const double now = now_seconds();
    tick(std::min(now - last, kMostTicks * length), now);
    last = now;
  }
}

void Watchdog::tick(double elapsed, double now) {
  if (exit_in_ >= 0) {
    exit_in_ -= elapsed;
    if (exit_in_ < 0) end();
  }
  if (expired_) return;
  for (auto& [id, entry] : entries_) {
    entry.waited += std::min(elapsed, now - entry.began);
    if (entry.waited >= timeout_) return expire(entry.what, entry.waited, entry.kind);
  }
  for (Probed& probed : probes_) {
    std::string what = probed.probe();
    probed.waited = what.empty() || what != probed.what ? 0 : probed.waited + elapsed;
    probed.what = std::move(what);
    if (probed.waited >= timeout_) return expire(probed.what, probed.waited, Kind::blocked);
  }
}

void Watchdog::end() {
  if (expired_) end_launcher();
  _exit(exit_code_);
}

void Watchdog::expire(const std::string& what, double waited, Kind kind) {
  why_ = what + " has waited " + format_seconds(waited) +
         " for the other processes, and the timeout is " + format_seconds(timeout_) +
         ": one of them has ended, hangs or is busy with something else, or the network is cut";
  print("fused-rnn: rank " + std::to_string(rank_) + " of " + std::to_string(size_) + ": " + why_ +
        ". This process ends; training can go on from its last checkpoint\n");
  exit_in_ = kGrace;
  expired_.store(true, std::memory_order_release);
  if (kind == Kind::blocked) end();
}

}  // namespace fused_rnn::distributed
