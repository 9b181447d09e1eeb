#include "cuda/graphs.h"

#include <utility>

namespace fused_rnn::cuda {
namespace {

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

  // Makes `exec` run this graph from its next launch on. Another one, if it cannot: a product may
  // use other kernels for other addresses.
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

GraphCache::~GraphCache() { clear(); }

void GraphCache::clear() {
  for (Entry& entry : entries_) {
    for (Graph& graph : entry.graphs) cudaGraphExecDestroy(graph.exec);
  }
  entries_.clear();
}

void GraphCache::run(GraphKey key, cudaStream_t stream, const std::function<void()>& queue) {
  auto entry = std::find_if(entries_.begin(), entries_.end(),
                            [&](const Entry& e) { return e.shape == key.shape; });
  if (entry == entries_.end()) {
    if (entries_.size() == kEntries) drop_last(stream);
    entries_.push_front({std::move(key.shape), {}});
    return queue();
  }
  entries_.splice(entries_.begin(), entries_, entry);
  std::list<Graph>& graphs = entries_.front().graphs;
  auto graph = std::find_if(graphs.begin(), graphs.end(),
                            [&](const Graph& g) { return g.addresses == key.addresses; });
  if (graph == graphs.end()) {
    const Captured captured(stream, queue);
    if (graphs.size() < kGraphs) {
      graphs.push_front({std::move(key.addresses), captured.instantiate()});
      graph = graphs.begin();
    } else {
      graph = std::prev(graphs.end());
      captured.put_into(graph->exec, stream);
      graph->addresses = std::move(key.addresses);
    }
  }
  graphs.splice(graphs.begin(), graphs, graph);
  check(cudaGraphLaunch(graphs.front().exec, stream), "cudaGraphLaunch");
}

void GraphCache::drop_last(cudaStream_t stream) {
  std::list<Graph>& graphs = entries_.back().graphs;
  // One may still run.
  if (!graphs.empty()) check(cudaStreamSynchronize(stream), "cudaStreamSynchronize");
  for (Graph& graph : graphs) cudaGraphExecDestroy(graph.exec);
  entries_.pop_back();
}

}  // namespace fused_rnn::cuda
