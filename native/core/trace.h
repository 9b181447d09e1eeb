// When operations ran, for autograd.profiler. Off, it costs one load of an atomic an operation.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace fused_rnn::trace {

struct Event {
  const char* op;
  bool here;           // on the thread that pushes, not the worker
  int64_t begin, end;  // nanoseconds, as now() counts them
};

struct Taken {
  std::vector<Event> events;
  size_t dropped;  // beyond kMostEvents
};

inline constexpr size_t kMostEvents = size_t{1} << 20;

// Queues that are being traced.
inline std::atomic<int> active{0};

inline int64_t now() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

// `queue` stands for itself alone.
void start(const void* queue);
void add(const void* queue, const Event& event);
// Ends it; nothing for a queue that is not traced.
Taken take(const void* queue);

}  // namespace fused_rnn::trace
