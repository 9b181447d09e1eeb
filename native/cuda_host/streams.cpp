// Streams, events and graphs of the host's CUDA. Work is a node that names what has to run before
// it; it runs when somebody waits, in a random order that the names allow.
#include <cstdio>
#include <map>
#include <memory>
#include <set>
#include <utility>
#include <vector>

#include "cuda_host/internal.h"

namespace cuda_host {

struct Node;
using NodePointer = std::shared_ptr<Node>;

struct Node {
  const void* what;
  std::function<void()> run;
  std::vector<NodePointer> before;  // those that had not run when this was queued
  bool done = false;
  // While it waits to run: how many are before it, and which are behind it.
  size_t open = 0;
  std::vector<Node*> after;
};

// A recording: nodes whose `before` are nodes of the same graph.
struct Graph {
  bool strict = true;
  std::vector<NodePointer> nodes;
  std::set<Stream*> streams;  // that take part while it is recorded
};

struct GraphExec {
  std::vector<NodePointer> nodes;
};

struct Stream {
  NodePointer last;                // queued here, or null
  std::vector<NodePointer> waits;  // of events, for the next node
  Graph* recording = nullptr;
  Stream* origin = nullptr;  // where the recording began
  // As they were when the recording began; they hold again when it ends.
  NodePointer last_outside;
  std::vector<NodePointer> waits_outside;
};

struct Event {
  NodePointer node;  // null: nothing was before it
  Graph* recording = nullptr;
  Stream* origin = nullptr;
};

namespace {

// Captures that this thread began, but for relaxed ones.
thread_local int strict_captures = 0;

constexpr size_t kMostPending = 512;

std::vector<NodePointer>& pending() {
  static auto* instance = new std::vector<NodePointer>;
  return *instance;
}

// Runs nodes in a random order in which each comes after those before it, which are among them.
void run_nodes(const std::vector<NodePointer>& nodes) {
  std::vector<Node*> ready;
  for (const NodePointer& node : nodes) {
    for (const NodePointer& before : node->before) {
      if (before->done) continue;
      before->after.push_back(node.get());
      node->open += 1;
    }
    if (node->open == 0) ready.push_back(node.get());
  }
  size_t ran = 0;
  for (; !ready.empty(); ++ran) {
    std::swap(ready[dice()() % ready.size()], ready.back());
    Node* node = ready.back();
    ready.pop_back();
    node->run();
    node->run = nullptr;
    node->before.clear();
    node->done = true;
    for (Node* next : node->after) {
      if (--next->open == 0) ready.push_back(next);
    }
    node->after.clear();
  }
  if (ran != nodes.size()) die("work waits for what has not been queued");
}

// What work queued on a stream now has to wait for; the stream's waits are used up.
std::vector<NodePointer> before_next(Stream& stream) {
  std::vector<NodePointer> before = std::exchange(stream.waits, {});
  if (stream.last != nullptr && !stream.last->done) before.push_back(stream.last);
  return before;
}

NodePointer add(Stream* stream, const void* what, std::function<void()> run) {
  if (stream == nullptr) die("work on the default stream, which waits for all others");
  driver.expect("work is queued");
  auto node =
      std::make_shared<Node>(Node{what, std::move(run), before_next(*stream), false, 0, {}});
  stream->last = node;
  if (stream->recording != nullptr) {
    stream->recording->nodes.push_back(node);
  } else {
    pending().push_back(node);
    if (pending().size() > kMostPending) run_everything();
  }
  return node;
}

// Fresh nodes of a graph, so that it can run again.
std::vector<NodePointer> copy_of(const std::vector<NodePointer>& nodes) {
  std::map<const Node*, NodePointer> copies;
  std::vector<NodePointer> result;
  for (const NodePointer& node : nodes) {
    auto copy = std::make_shared<Node>(Node{node->what, node->run, {}, false, 0, {}});
    for (const NodePointer& before : node->before) copy->before.push_back(copies.at(before.get()));
    copies[node.get()] = copy;
    result.push_back(std::move(copy));
  }
  return result;
}

void begin_recording(Stream& stream, Graph* graph, Stream* origin) {
  stream.recording = graph;
  stream.origin = origin;
  stream.last_outside = std::exchange(stream.last, nullptr);
  stream.waits_outside = std::exchange(stream.waits, {});
  graph->streams.insert(&stream);
}

void end_recording(Stream& stream) {
  stream.recording = nullptr;
  stream.origin = nullptr;
  stream.last = std::exchange(stream.last_outside, nullptr);
  stream.waits = std::exchange(stream.waits_outside, {});
}

// What comes before the stream's next work, of what has not run.
std::set<const Node*> all_before_next(const Stream& stream) {
  std::set<const Node*> found;
  std::vector<const Node*> open;
  const auto look_at = [&](const NodePointer& node) {
    if (node != nullptr && !node->done) open.push_back(node.get());
  };
  look_at(stream.last);
  for (const NodePointer& node : stream.waits) look_at(node);
  while (!open.empty()) {
    const Node* node = open.back();
    open.pop_back();
    if (!found.insert(node).second) continue;
    for (const NodePointer& before : node->before) look_at(before);
  }
  return found;
}

void expect_no_recording(Stream* stream, const char* what) {
  if (stream != nullptr && stream->recording != nullptr) die(what);
}

}  // namespace

void submit(Stream* stream, const void* what, std::function<void()> run) {
  std::lock_guard guard(lock());
  add(stream, what, std::move(run));
}

bool waits_for_all(Stream* stream) {
  std::lock_guard guard(lock());
  return all_before_next(*stream).size() == pending().size();
}

bool is_captured(const Stream* stream) { return stream->recording != nullptr; }

void expect_no_capture(const char* call) {
  if (strict_captures == 0) return;
  char text[128];
  std::snprintf(text, sizeof text, "%s while a stream is captured", call);
  die(text);
}

void run_everything() {
  driver.expect("a wait");
  std::lock_guard guard(lock());
  static bool running = false;
  if (running || pending().empty()) return;
  running = true;
  run_nodes(std::exchange(pending(), {}));
  running = false;
  check_surroundings();
}

}  // namespace cuda_host

using namespace cuda_host;

cudaError_t cudaDeviceSynchronize() {
  expect_no_capture("cudaDeviceSynchronize");
  run_everything();
  return cudaSuccess;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  *stream = new Stream;
  return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  run_everything();
  delete stream;
  return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  expect_no_recording(stream, "a wait for a stream while it is captured");
  expect_no_capture("cudaStreamSynchronize");
  run_everything();
  return cudaSuccess;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  *event = new Event;
  return cudaSuccess;
}

cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete event;
  return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  std::lock_guard guard(lock());
  static const char what = 0;
  event->recording = stream->recording;
  event->origin = stream->origin;
  event->node = add(stream, &what, [] {});
  return cudaSuccess;
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  std::lock_guard guard(lock());
  if (event->recording != nullptr) {
    if (event->origin->recording != event->recording) {
      die("a stream waits for an event of a capture that has ended");
    }
    // The stream takes part in the capture from here on.
    if (stream->recording != nullptr && stream->recording != event->recording) {
      die("a stream waits for an event of another capture");
    }
    if (stream->recording == nullptr) begin_recording(*stream, event->recording, event->origin);
  } else if (stream->recording != nullptr) {
    die("a captured stream waits for an event that is not part of the capture");
  }
  if (event->node != nullptr && !event->node->done) stream->waits.push_back(event->node);
  return cudaSuccess;
}

cudaError_t cudaEventQuery(cudaEvent_t event) {
  expect_no_capture("cudaEventQuery");
  std::lock_guard guard(lock());
  if (event->recording != nullptr) die("an event of a capture is asked for");
  if (event->node == nullptr || event->node->done) return cudaSuccess;
  // Now and then it has come so far.
  if (dice()() % 4 != 0) return cudaErrorNotReady;
  run_everything();
  return cudaSuccess;
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  expect_no_capture("cudaEventSynchronize");
  std::lock_guard guard(lock());
  if (event->recording != nullptr) die("a wait for an event of a capture");
  run_everything();
  return cudaSuccess;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode) {
  std::lock_guard guard(lock());
  if (stream == nullptr || stream->recording != nullptr) return set_error(cudaErrorInvalidValue);
  if (fails(Call::graph)) return set_error(cudaErrorMemoryAllocation);
  begin_recording(*stream, new Graph{mode != cudaStreamCaptureModeRelaxed, {}, {}}, stream);
  strict_captures += stream->recording->strict;
  return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  std::lock_guard guard(lock());
  Graph* recorded = stream->recording;
  if (recorded == nullptr || stream->origin != stream) return set_error(cudaErrorInvalidValue);
  strict_captures -= recorded->strict;
  // Everything has to be before what the first stream would do next.
  const bool joined = all_before_next(*stream).size() == recorded->nodes.size();
  for (Stream* other : std::exchange(recorded->streams, {})) end_recording(*other);
  const bool failed = fails(Call::graph);
  if (!joined || failed) {
    delete recorded;
    *graph = nullptr;
    return set_error(failed ? cudaErrorMemoryAllocation : cudaErrorStreamCaptureUnjoined);
  }
  *graph = recorded;
  return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* exec, cudaGraph_t graph, unsigned long long) {
  if (fails(Call::graph)) return set_error(cudaErrorMemoryAllocation);
  *exec = new GraphExec{copy_of(graph->nodes)};
  return cudaSuccess;
}

cudaError_t cudaGraphExecUpdate(cudaGraphExec_t exec, cudaGraph_t graph,
                                cudaGraphExecUpdateResultInfo* info) {
  std::lock_guard guard(lock());
  // The same kernels and copies, each behind the same others.
  bool same = exec->nodes.size() == graph->nodes.size() && !fails(Call::graph);
  std::map<const Node*, size_t> numbers;
  for (size_t i = 0; same && i < graph->nodes.size(); ++i) {
    const Node &a = *exec->nodes[i], &b = *graph->nodes[i];
    same = a.what == b.what && a.before.size() == b.before.size();
    for (size_t k = 0; same && k < a.before.size(); ++k) {
      same = numbers.at(a.before[k].get()) == numbers.at(b.before[k].get());
    }
    numbers[&a] = numbers[&b] = i;
  }
  info->result = same ? 0 : 1;
  if (!same) return set_error(cudaErrorGraphExecUpdateFailure);
  exec->nodes = copy_of(graph->nodes);
  return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream) {
  std::lock_guard guard(lock());
  expect_no_recording(stream, "a graph is launched into a capture");
  if (fails(Call::graph)) return set_error(cudaErrorMemoryAllocation);
  static const char what = 0;
  auto nodes = std::make_shared<std::vector<NodePointer>>(copy_of(exec->nodes));
  add(stream, &what, [nodes] { run_nodes(std::exchange(*nodes, {})); });
  return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec) {
  delete exec;
  return cudaSuccess;
}
