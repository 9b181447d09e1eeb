// The processes that train together, as one of them sees it: a thread of its own makes the
// collectives, one after the other in the order in which their tickets were drawn, so that neither
// the JavaScript thread nor a queue's worker is ever inside MPI.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "distributed/mpi.h"
#include "distributed/watchdog.h"

namespace fused_rnn::distributed {

// What the collectives since join() have moved; for measurements.
struct Traffic {
  int64_t calls = 0;
  int64_t bytes = 0;   // handed to MPI by this process
  double seconds = 0;  // during which a collective was under way
  double waited = 0;   // of these, during which a queue did nothing but wait for one
};

class ProcessGroup {
 public:
  // There is one in a process, as there is one MPI. Never destroyed.
  static ProcessGroup& instance();

  // Why there is no MPI here, or empty; and what it calls itself. Opens the library. Any thread.
  std::string missing();
  std::string version();

  // Begin; wait_for_change() says when they are over, or throws what was wrong. Of all processes.
  // A collective that waits longer than `timeout_seconds` ends this process (watchdog.h).
  void join(bool nccl, double timeout_seconds);
  void leave();
  void set_timeout(double seconds) { watchdog_.set_timeout(seconds); }
  bool joined() const { return state_.load(std::memory_order_acquire) == State::joined; }
  int rank() const { return rank_; }
  int size() const { return size_; }

  // A place in the order. To be drawn where the order is that of all processes: on the JavaScript
  // thread, at the call. Throws when there is no group, or it cannot be used any more.
  uint64_t ticket();
  // The ticket's collective may begin.
  void submit(uint64_t ticket, Call call);
  // It will never be: what it needs has failed. No later one can be, as the others still wait.
  void skip(uint64_t ticket) noexcept;
  void skip_number() noexcept;
  // No later collective can be: the processes differ in what they have to have in common, or one
  // has failed.
  void refuse(std::string why);
  // Whether GPUs have collectives of their own. Those are made by the GPU's queue, in its order; a
  // number for one of them, drawn as a ticket.
  bool by_nccl() const { return nccl_; }
  uint64_t nccl_number();
  // Whether this device is new to the group, which is so once.
  bool is_new(const void* device);
  // What a GPU's stream waits for, asked now and then.
  void watch(NcclProgress progress);
  // While it lives, the calling thread is inside NCCL, waiting for the other processes.
  class Blocked : Watchdog::Wait {
   public:
    Blocked(ProcessGroup& group, const char* what)
        : Wait(group.watchdog_, what, Watchdog::Kind::blocked) {}
  };
  // Waits until it is over and gives the call back. Throws std::runtime_error when it failed,
  // Cancelled when `stopping`.
  Call wait(uint64_t ticket, const std::atomic<bool>& stopping);
  void wait_for_change(const std::atomic<bool>& stopping);

  Traffic traffic();

  // For the process's end, with its exit code, while the queues still work: 0 waits for the
  // collectives that are under way and takes leave of the others; another one, or a failure, ends
  // them all. Returns at once if there was no group. Idempotent.
  void end(int code) noexcept;

 private:
  enum class State { out, joining, joined, leaving };
  struct Entry {
    std::optional<Call> call;
    bool over = false;
    std::string error;
  };

  bool open(std::unique_lock<std::mutex>& lock);
  void expect_usable() const;
  // No collective that has not begun will be; those who wait for one hear why.
  void break_off(std::string why);
  void give_up(Entry& entry);
  void change(State state);
  void work();
  void carry_out_change(std::unique_lock<std::mutex>& lock);
  void carry_out(std::unique_lock<std::mutex>& lock, Entry& entry);
  // What is not the same in all processes, which MPI would not notice before memory is overwritten;
  // or why they cannot be asked.
  std::string difference(const Collective& own);
  // Until test() says so; false when a process has left that has not done its part, or the time is
  // over.
  bool poll(bool whoever_leaves);
  void leave_others();
  void finish(std::string broken);
  template <class F>
  void wait_until(std::unique_lock<std::mutex>& lock, const std::atomic<bool>& stopping, F f);

  Watchdog watchdog_;
  std::mutex mutex_;
  std::condition_variable asked_;    // for the thread
  std::condition_variable settled_;  // for those who wait
  std::thread thread_;
  std::unique_ptr<Mpi> mpi_;
  bool opened_ = false;
  std::string missing_;
  std::atomic<State> state_{State::out};
  bool initialised_ = false;
  int rank_ = -1, size_ = 0;
  std::string change_error_;
  std::atomic<bool> nccl_{false};
  uint64_t nccl_drawn_ = 0;
  std::set<const void*> devices_;
  std::string broken_;  // why the group cannot be used any more
  uint64_t drawn_ = 0, next_ = 0;
  uint64_t first_ = 0;  // ticket since the group was joined; the thread's own
  std::map<uint64_t, Entry> entries_;
  const Entry* under_way_ = nullptr;
  std::string left_;               // after poll() was false
  std::vector<Collective> calls_;  // of all processes, by rank
  Traffic traffic_;
  bool ending_ = false, ended_ = false;
  std::atomic<bool> abort_{false};
  int code_ = 0;
};

}  // namespace fused_rnn::distributed
