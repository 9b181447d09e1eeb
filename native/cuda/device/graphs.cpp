#include "cuda/device/graphs.h"

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <utility>

namespace fused_rnn::cuda {
namespace {

struct Counts {
  std::atomic<int64_t> launched{0}, captured{0}, updated{0}, queued{0}, refused{0};
};
constinit Counts counts;

void report() {
  const GraphCounts c = graph_counts();
  std::fprintf(stderr,
               "CUDA graphs: %lld launched, %lld captured, %lld updated; %lld loops queued\n",
               static_cast<long long>(c.launched), static_cast<long long>(c.captured),
               static_cast<long long>(c.updated), static_cast<long long>(c.queued));
  const int64_t refused = counts.refused;
  if (refused == 0) return;
  std::fprintf(stderr, "CUDA kernels of whole loops that a GPU refused: %lld\n",
               static_cast<long long>(refused));
}

GraphMode chosen_mode() {
  const char* text = std::getenv("FUSED_RNN_CUDA_GRAPHS");
  const std::string name = text != nullptr ? text : "";
  if (name.empty()) return GraphMode::normal;
  if (name == "off") return GraphMode::off;
  if (name != "report") {
    throw std::runtime_error("FUSED_RNN_CUDA_GRAPHS: expected 'report' or 'off', got '" + name +
                             "'");
  }
  std::atexit(report);
  return GraphMode::report;
}

// A graph of what `queue` puts on `stream`.
class Captured {
 public:
  Captured(cudaStream_t stream, const std::function<void()>& queue) {
    // Kernels may be loaded meanwhile, and other threads have streams of their own: nothing is
    // forbidden.
    check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed), "cudaStreamBeginCapture");
    try {
      queue();
    } catch (...) {
      if (cudaStreamEndCapture(stream, &graph_) != cudaSuccess) cudaGetLastError();
      if (graph_ != nullptr) cudaGraphDestroy(graph_);
      throw;
    }
    check(cudaStreamEndCapture(stream, &graph_), "cudaStreamEndCapture");
  }
  ~Captured() { cudaGraphDestroy(graph_); }
  Captured(const Captured&) = delete;
  Captured& operator=(const Captured&) = delete;

  cudaGraphExec_t instantiate() const {
    cudaGraphExec_t exec = nullptr;
    check(cudaGraphInstantiate(&exec, graph_, 0), "cudaGraphInstantiate");
    return exec;
  }

  // Makes `exec` run this graph from its next launch on. Becomes another one, if it cannot: a
  // product may use other kernels for other addresses.
  void put_into(cudaGraphExec_t& exec, cudaStream_t stream) const {
    cudaGraphExecUpdateResultInfo info{};
    if (cudaGraphExecUpdate(exec, graph_, &info) == cudaSuccess) return;
    cudaGetLastError();
    cudaGraphExec_t other = instantiate();
    check(cudaStreamSynchronize(stream), "cudaStreamSynchronize");
    cudaGraphExecDestroy(std::exchange(exec, other));
  }

 private:
  cudaGraph_t graph_ = nullptr;
};

}  // namespace

GraphMode graph_mode() {
  static const GraphMode mode = chosen_mode();
  return mode;
}

GraphCounts graph_counts() {
  return {counts.launched, counts.captured, counts.updated, counts.queued};
}

void count_refused_kernel() { counts.refused += 1; }

GraphCache::~GraphCache() { clear(); }

void GraphCache::clear() {
  for (Entry& entry : entries_) {
    for (Graph& graph : entry.graphs) cudaGraphExecDestroy(graph.exec);
  }
  entries_.clear();
}

void GraphCache::run(GraphKey key, cudaStream_t stream, const std::function<void()>& queue) {
  const auto queue_it = [&] {
    counts.queued += 1;
    queue();
  };
  if (mode_ == GraphMode::off) return queue_it();
  auto entry = std::find_if(entries_.begin(), entries_.end(),
                            [&](const Entry& e) { return e.shape == key.shape; });
  if (entry == entries_.end()) {
    if (entries_.size() == kEntries) drop_last(stream);
    entries_.push_front({.shape = std::move(key.shape), .graphs = {}});
    return queue_it();
  }
  entries_.splice(entries_.begin(), entries_, entry);
  if (find_graph(*entry, key.addresses)) {
    entry->in_vain = std::max(entry->in_vain - 1, 0);
    if (entry->in_vain == 0) entry->next_pause = kFirstPause;
  } else if (entry->pause > 0) {
    entry->pause -= 1;
    return queue_it();
  } else {
    entry->in_vain += 1;
    if (entry->in_vain >= kMostInVain) {
      entry->pause = entry->next_pause;
      entry->next_pause = std::min(2 * entry->next_pause, kLongestPause);
    }
    try {
      capture(*entry, std::move(key.addresses), stream, queue);
    } catch (const std::runtime_error&) {
      // There may be no memory for a graph, but for the work. If it is the work that fails, it does
      // so again.
      return queue_it();
    }
  }
  if (cudaGraphLaunch(entry->graphs.front().exec, stream) != cudaSuccess) {
    cudaGetLastError();
    return queue_it();
  }
  counts.launched += 1;
}

bool GraphCache::find_graph(Entry& entry, const std::vector<const void*>& addresses) {
  std::list<Graph>& graphs = entry.graphs;
  const auto graph = std::find_if(graphs.begin(), graphs.end(),
                                  [&](const Graph& g) { return g.addresses == addresses; });
  if (graph == graphs.end()) return false;
  graphs.splice(graphs.begin(), graphs, graph);
  return true;
}

void GraphCache::capture(Entry& entry, std::vector<const void*> addresses, cudaStream_t stream,
                         const std::function<void()>& queue) {
  std::list<Graph>& graphs = entry.graphs;
  const Captured captured(stream, queue);
  if (graphs.size() < kGraphs) {
    graphs.push_front({std::move(addresses), captured.instantiate()});
    counts.captured += 1;
    return;
  }
  Graph& oldest = graphs.back();
  captured.put_into(oldest.exec, stream);
  oldest.addresses = std::move(addresses);
  graphs.splice(graphs.begin(), graphs, std::prev(graphs.end()));
  counts.updated += 1;
}

void GraphCache::drop_last(cudaStream_t stream) {
  std::list<Graph>& graphs = entries_.back().graphs;
  // One may still run.
  if (!graphs.empty()) check(cudaStreamSynchronize(stream), "cudaStreamSynchronize");
  for (Graph& graph : graphs) cudaGraphExecDestroy(graph.exec);
  entries_.pop_back();
}

}  // namespace fused_rnn::cuda
