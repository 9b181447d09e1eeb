// A device other than the host, as core sees it: where storages of a queue lie, and what the queue
// has to know to bring failures home. One object per environment and GPU.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "core/allocator.h"

namespace fused_rnn {

// An operation that found bad values (an index, a target, a NaN) while it ran on the device.
struct DeviceFault {
  uint64_t job;         // as told to begin_job()
  std::string message;  // "[op] …", as the CPU's operation would have thrown it
};

class Device {
 public:
  virtual ~Device() = default;

  // "cuda:0"
  virtual const std::string& name() const = 0;

  // Memory in stream order: what is freed may be handed out again at once, for work that is queued
  // later. On the queue's thread. Throws std::runtime_error with the sizes when there is no more.
  virtual void* allocate(size_t bytes) = 0;
  // On any thread.
  virtual void free(void* data, size_t bytes) noexcept = 0;
  virtual MemoryStats memory_stats() const = 0;
  // Gives `owner` up, on any thread, once what has been queued so far, which may use its memory,
  // has run: at the next wait(). On any thread.
  virtual void release_later(std::shared_ptr<void> owner) noexcept = 0;

  // Copies in stream order, on the queue's thread. `from` may change as soon as upload returns.
  virtual void upload(void* to, const void* from, size_t bytes) = 0;
  // Waits for the values.
  virtual void download(void* to, const void* from, size_t bytes) = 0;

  // The job that the queue's thread runs from now on. Faults carry the number.
  virtual void begin_job(uint64_t number) = 0;
  // Everything that was queued has run.
  virtual void wait() = 0;
  // The first fault since the last call, if it is known already; after wait() it is.
  virtual std::optional<DeviceFault> take_fault() = 0;

  // Called on the queue's thread before its first job and after its last.
  virtual void enter_thread() = 0;
  virtual void leave_thread() noexcept = 0;
};

}  // namespace fused_rnn
