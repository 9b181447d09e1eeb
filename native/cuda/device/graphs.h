// Captured work: what was queued once is replayed by one call, as long as it is the same work on
// the same addresses.
#pragma once

#include <cstdint>
#include <functional>
#include <list>
#include <vector>

#include "cuda/device/runtime.h"

namespace fused_rnn::cuda {

// All that queued work depends on. Equal shapes make graphs of the same nodes.
struct GraphKey {
  std::vector<int64_t> shape;
  std::vector<const void*> addresses;
};

// FUSED_RNN_CUDA_GRAPHS=off queues everything; =report says on stderr, when the process ends, how
// often each was done.
enum class GraphMode { normal, report, off };
// Throws std::runtime_error when it is something else.
GraphMode graph_mode();

// How often, in the whole process.
struct GraphCounts {
  int64_t launched, captured, updated, queued;
};
GraphCounts graph_counts();
// Counts a persistent kernel that a device has refused (cooperative.h), for the report.
void count_refused_kernel();

// Memory comes from a pool in stream order, so in a training loop the addresses repeat, step for
// step or in a short cycle. Work that is seen for the first time is not captured: that takes longer
// than to queue it, and of batches of unequal lengths few come again. Nor is, for a while, work
// whose graphs are hardly ever replayed.
class GraphCache {
 public:
  explicit GraphCache(GraphMode mode = graph_mode()) : mode_(mode) {}
  ~GraphCache();
  GraphCache(const GraphCache&) = delete;
  GraphCache& operator=(const GraphCache&) = delete;

  // Runs what `queue` puts on `stream`, and on others that it forks from it and joins to it.
  void run(GraphKey key, cudaStream_t stream, const std::function<void()>& queue);
  // Forgets everything, when no graph is running any more.
  void clear();

 private:
  struct Graph {
    std::vector<const void*> addresses;
    cudaGraphExec_t exec;
  };
  // The graphs of one shape, the latest first.
  struct Entry {
    std::vector<int64_t> shape;
    std::list<Graph> graphs;
    // Captures minus replays, not below 0.
    int in_vain = 0;
    // For this many calls nothing is captured; and for how many the next time.
    int pause = 0, next_pause = kFirstPause;
  };

  static constexpr size_t kEntries = 64;
  // Of one shape: a module may be called several times in a step, with memory of its own each time.
  static constexpr size_t kGraphs = 4;
  static constexpr int kMostInVain = 8, kFirstPause = 16, kLongestPause = 1024;

  // Whether the graph for `addresses` is the entry's first one now.
  static bool find_graph(Entry& entry, const std::vector<const void*>& addresses);
  static void capture(Entry& entry, std::vector<const void*> addresses, cudaStream_t stream,
                      const std::function<void()>& queue);
  void drop_last(cudaStream_t stream);

  const GraphMode mode_;
  std::list<Entry> entries_;  // the latest first
};

}  // namespace fused_rnn::cuda
