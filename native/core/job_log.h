// What a device's queue remembers of the jobs that may still fail: a device runs them later, and
// says then that one has met bad values. By that time others have read what it wrote.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "core/device.h"
#include "core/storage.h"

namespace fused_rnn {

class JobLog {
 public:
  // When it has grown to this many entries, the queue waits for the device, and begins anew.
  static constexpr size_t kLimit = 4096;

  void add(uint64_t number, std::span<const Buffer> reads, std::span<const Buffer> writes);
  bool full() const { return jobs_.size() >= kLimit; }
  void clear() { jobs_.clear(); }

  // Poisons what the job that failed has written, and what later ones made from that.
  void poison(const DeviceFault& fault) const;

 private:
  // Not the storages themselves: the log is no reason to keep memory.
  struct Job {
    uint64_t number;
    std::vector<std::weak_ptr<Storage>> reads;
    std::vector<std::weak_ptr<Storage>> writes;
  };

  std::vector<Job> jobs_;  // in the order in which they were handed to the device
};

}  // namespace fused_rnn
