// A device as one environment (of Node, or a native program's Engine) uses it: its operations, and
// the queue on which they run in order.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "core/processors.h"
#include "core/queue.h"
#include "core/storage.h"
#include "engine/cost.h"
#include "ops/backend.h"

namespace fused_rnn {

// Whether the CPU's products round their factors to bfloat16.
struct CpuPrecision {
  bool matmul = false;
  bool rnn = false;
};

// An operation's name, and whether it is one of those that are known to write nothing but their
// new outputs (Queue::changes): all others are taken to write anywhere.
struct Op {
  Op(const char* name, bool pure = false) : name(name), pure(pure) {}
  const char* name;
  bool pure;
};
inline Op pure(const char* name) { return {name, true}; }

struct Executor {
  Executor(const Backend& backend, int threads, std::shared_ptr<Device> device = nullptr)
      : backend(backend), device(device), queue(threads, std::move(device)) {}

  const Backend& backend;
  const std::shared_ptr<Device> device;  // null: the host
  Queue queue;
  CpuPrecision precision;  // of the operations that are called from now on

  // Puts run(backend, context) on the queue, or runs it now when it is small and nothing is before
  // it; `cost` is counted as in cost.h. `reads` and `writes` are for the error rule of
  // core/queue.h; whatever else `run` uses it must capture, which also keeps it alive.
  template <class F>
  void enqueue(Op op, int64_t cost, Buffers reads, Buffers writes, F run) {
    if (Queue::small(cost) && queue.idle()) {
      return queue.run_here(op.name, reads, writes, op.pure,
                            [&](Context& context) { run(backend, context); });
    }
    Job job;
    job.op = op.name;
    job.pure = op.pure;
    job.one_thread = Queue::one_thread(cost);
    job.reads.assign(reads.begin(), reads.end());
    job.writes.assign(writes.begin(), writes.end());
    job.run = [run = std::move(run), this](Context& context) mutable { run(backend, context); };
    queue.push(std::move(job));
  }
};

// As many as the processors that this process may use; where a launcher has started several on this
// machine, a share of them. Variables say otherwise (core/processors.h), and throw if they are
// wrong.
const ThreadChoice& default_threads();

// A copy of values of the host, where the executor's device is.
Buffer upload(Executor& executor, const void* from, int64_t length, DType dtype);

// For the thread that the queue's jobs run on, or when it is idle: the queue's first error since
// the last report, or the one that poisoned one of `reads`, or that of work(), which is called if
// there is no other; empty if none.
std::string report(Queue& queue, Buffers reads, const std::function<void()>& work);

// On the same: the values, to host memory.
void copy_out(const Buffer& buffer, void* to);

}  // namespace fused_rnn
