// What a kernel gets besides its arguments.
#pragma once

#include <atomic>
#include <stdexcept>

#include "core/allocator.h"
#include "core/thread_pool.h"

namespace fused_rnn {

// Thrown out of a long operation when the environment is being torn down.
struct Cancelled {};

class Device;

struct Context {
  ThreadPool& pool;
  const std::atomic<bool>& stopping;
  Device* device = nullptr;  // null: the host

  // Long loops call this now and then.
  void check_stop() const {
    if (stopping.load(std::memory_order_relaxed)) throw Cancelled{};
  }
};

// Temporary floats for the duration of one operation.
class Scratch {
 public:
  explicit Scratch(int64_t floats)
      : bytes_(static_cast<size_t>(floats) * sizeof(float)),
        data_(static_cast<float*>(host_allocate(bytes_))) {}
  ~Scratch() { host_free(data_, bytes_); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  float* data() const { return data_; }

 private:
  size_t bytes_;
  float* data_;
};

}  // namespace fused_rnn
