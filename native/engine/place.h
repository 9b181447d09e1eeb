// A device as one environment (of Node, or a native program's Engine) uses it: its operations, and
// the queue on which they run in order.
#pragma once

#include <memory>
#include <utility>

#include "core/queue.h"
#include "core/storage.h"
#include "engine/cost.h"
#include "fused_rnn/backend.h"

namespace fused_rnn {

struct Place {
  Place(const Backend& backend, int threads, std::shared_ptr<Device> device = nullptr)
      : backend(backend), device(device), queue(threads, std::move(device)) {}

  const Backend& backend;
  const std::shared_ptr<Device> device;  // null: the host
  Queue queue;

  // Puts run(backend, context) on the queue, or runs it now when it is small and nothing is before
  // it; `cost` is counted as in cost.h. `reads` and `writes` are for the error rule of
  // core/queue.h; whatever else `run` uses it must capture, which also keeps it alive.
  template <class F>
  void enqueue(const char* op, int64_t cost, Buffers reads, Buffers writes, F run) {
    if (Queue::small(cost) && queue.idle()) {
      return queue.run_here(op, reads, writes, [&](Context& context) { run(backend, context); });
    }
    Job job;
    job.op = op;
    job.one_thread = Queue::one_thread(cost);
    job.reads.assign(reads.begin(), reads.end());
    job.writes.assign(writes.begin(), writes.end());
    job.run = [run = std::move(run), this](Context& context) mutable { run(backend, context); };
    queue.push(std::move(job));
  }
};

}  // namespace fused_rnn
