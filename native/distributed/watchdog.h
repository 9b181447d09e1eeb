// Ends this process when a collective waits longer than the group's timeout for the others: they
// are gone, behind a network that is cut, or do not come to it. Every process has one of its own,
// as nobody can be told then.
//
// Time counts only while a collective waits. It is counted in small ticks on a thread of its own,
// so that a process that is stopped (SIGSTOP, a suspended job) or gets no core does not time out by
// it.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace fused_rnn::distributed {

class Watchdog {
 public:
  // What waits elsewhere: a text that is another one for every wait, or an empty one. Any thread.
  using Probe = std::function<std::string()>;

  // `hears`: whether who waits looks at expired(), and fails with why(). The process then has some
  // seconds to end by itself; else it is ended at once.
  enum class Kind { hears, blocked };

  // While it lives, time counts.
  class Wait {
   public:
    Wait(Watchdog& watchdog, std::string what, Kind kind)
        : watchdog_(watchdog), id_(watchdog.enter(std::move(what), kind)) {}
    ~Wait() { watchdog_.leave(id_); }
    Wait(const Wait&) = delete;
    Wait& operator=(const Wait&) = delete;

   private:
    Watchdog& watchdog_;
    const uint64_t id_;
  };

  // Begins to watch; infinity: nothing expires. Forgets the probes of an earlier group.
  void start(double timeout_seconds);
  void set_timeout(double seconds);
  // For messages, when they are known.
  void set_rank(int rank, int size);
  void add(Probe probe);
  // Ends the thread.
  void stop() noexcept;

  bool expired() const noexcept { return expired_.load(std::memory_order_acquire); }
  std::string why();
  // Ends the process with this code in some seconds, if it has not ended by then.
  void exit_soon(int code) noexcept;

 private:
  struct Entry {
    std::string what;
    Kind kind;
    double began;
    double waited = 0;
  };
  struct Probed {
    Probe probe;
    std::string what = {};
    double waited = 0;
  };

  uint64_t enter(std::string what, Kind kind);
  void leave(uint64_t id);
  void work();
  void tick(double elapsed, double now);
  [[noreturn]] void end();
  void expire(const std::string& what, double waited, Kind kind);

  std::mutex mutex_;
  std::condition_variable changed_;
  std::thread thread_;
  double timeout_ = 0;
  int rank_ = 0, size_ = 0;
  std::map<uint64_t, Entry> entries_;
  std::vector<Probed> probes_;
  uint64_t next_ = 0;
  bool stopping_ = false;
  std::atomic<bool> expired_{false};
  std::string why_;
  double exit_in_ = -1;  // seconds; negative: it need not end
  int exit_code_ = 1;
};

}  // namespace fused_rnn::distributed
