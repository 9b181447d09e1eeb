// Streams, events and graphs.
#include "test/cuda_host/checks.h"

namespace fused_rnn::test {
namespace {

__global__ void add(float* x, float value) { *x += value; }
__global__ void scale(float* x, float value) { *x *= value; }
__global__ void add_from(float* x, const float* y) { *x += *y; }

class Event {
 public:
  Event() { cuda::check(cudaEventCreateWithFlags(&event_, cudaEventDisableTiming), "event"); }
  ~Event() { cudaEventDestroy(event_); }
  operator cudaEvent_t() const { return event_; }

 private:
  cudaEvent_t event_;
};

// `to` goes on only after what `from` has been given so far.
void order(cudaStream_t from, cudaStream_t to) {
  const Event event;
  cuda::check(cudaEventRecord(event, from), "record");
  cuda::check(cudaStreamWaitEvent(to, event), "wait");
}

struct Recorded {
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t exec = nullptr;
  ~Recorded() {
    if (exec != nullptr) cudaGraphExecDestroy(exec);
    if (graph != nullptr) cudaGraphDestroy(graph);
  }
};

// What `work` queues on the stream and those that it orders behind it.
template <class Work>
void record(cudaStream_t stream, cudaGraph_t* graph, Work work) {
  cuda::check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "begin");
  work();
  cuda::check(cudaStreamEndCapture(stream, graph), "end");
}

// x = (x + 1) * 2, y = (y + 1) * 3 side by side, then x += y.
void forked(cudaStream_t main, cudaStream_t side, float* x, float* y) {
  launch(add, 1, 1, 0, main, x, 1);
  launch(add, 1, 1, 0, main, y, 1);
  order(main, side);
  launch(scale, 1, 1, 0, side, y, 3);
  launch(scale, 1, 1, 0, main, x, 2);
  order(side, main);
  launch(add_from, 1, 1, 0, main, x, y);
}

// The results of two kernels on two streams, in many orders: whether they are always the same.
bool always(float expected, bool ordered) {
  for (unsigned s = 0; s < kSeeds; ++s) {
    seed(s);
    const Stream one, two;
    const Array x(one, {1});
    one.wait();
    launch(add, 1, 1, 0, one, x.data, 1);
    if (ordered) order(one, two);
    launch(scale, 1, 1, 0, two, x.data, 2);
    two.wait();
    if (x.values()[0] != expected) return false;
  }
  return true;
}

void add_graph_checks(Checks& checks) {
  checks.add("a graph of forked streams, again and again", [] {
    for (unsigned s = 0; s < kSeeds; ++s) {
      seed(s);
      const Stream main, side;
      const Array x(main, {1}), y(main, {1});
      Recorded recorded;
      record(main, &recorded.graph, [&] { forked(main, side, x.data, y.data); });
      expect_same(x.values(), {1});  // nothing has run
      cuda::check(cudaGraphInstantiate(&recorded.exec, recorded.graph, 0), "instantiate");
      float on_x = 1, on_y = 1;
      for (int i = 0; i < 3; ++i) {
        cuda::check(cudaGraphLaunch(recorded.exec, main), "launch");
        on_y = (on_y + 1) * 3;
        on_x = (on_x + 1) * 2 + on_y;
      }
      expect_same(x.values(), {on_x});
    }
  });
  // What is queued around the capture keeps its order with what is queued after it.
  checks.add("a graph runs after what was queued before it was recorded", [] {
    for (unsigned s = 0; s < kSeeds; ++s) {
      seed(s);
      const Stream main, side, other;
      const Array x(main, {1}), y(main, {1});
      order(main, other);
      launch(add, 1, 1, 0, other, y.data, 4);
      order(other, main);
      launch(scale, 1, 1, 0, main, x.data, 10);
      launch(add, 1, 1, 0, side, y.data, 0);
      Recorded recorded;
      record(main, &recorded.graph, [&] { forked(main, side, x.data, y.data); });
      cuda::check(cudaGraphInstantiate(&recorded.exec, recorded.graph, 0), "instantiate");
      cuda::check(cudaGraphLaunch(recorded.exec, main), "launch");
      launch(scale, 1, 1, 0, main, x.data, 100);
      expect_same(x.values(), {((10 + 1) * 2 + (5 + 1) * 3) * 100});
    }
  });
  checks.add("copies and fills in a graph", [] {
    const Stream main;
    const Array x(main, {1, 2}), y(main, {5, 6});
    Recorded recorded;
    record(main, &recorded.graph, [&] {
      cudaMemcpyAsync(x.data, y.data, 8, cudaMemcpyDeviceToDevice, main);
      cudaMemsetAsync(y.data, 0, 4, main);
    });
    cuda::check(cudaGraphInstantiate(&recorded.exec, recorded.graph, 0), "instantiate");
    cuda::check(cudaGraphLaunch(recorded.exec, main), "launch");
    expect_same(x.values(), {5, 6});
    cuda::check(cudaGraphLaunch(recorded.exec, main), "launch");
    expect_same(x.values(), {0, 6});
  });
  checks.add("a graph is given other pointers, but not another form", [] {
    const Stream main, side;
    const Array x(main, {1}), y(main, {1}), z(main, {1});
    Recorded first, second, third;
    record(main, &first.graph, [&] { forked(main, side, x.data, y.data); });
    cuda::check(cudaGraphInstantiate(&first.exec, first.graph, 0), "instantiate");
    record(main, &second.graph, [&] { forked(main, side, z.data, y.data); });
    cudaGraphExecUpdateResultInfo info;
    cuda::check(cudaGraphExecUpdate(first.exec, second.graph, &info), "update");
    cuda::check(cudaGraphLaunch(first.exec, main), "launch");
    expect_same(x.values(), {1});
    expect_same(z.values(), {4 + 6});
    // The same kernels, all on one stream.
    record(main, &third.graph, [&] { forked(main, main, x.data, y.data); });
    expect(cudaGraphExecUpdate(first.exec, third.graph, &info) == cudaErrorGraphExecUpdateFailure,
           "updated");
    cudaGetLastError();
  });
  checks.add("a capture whose streams are not joined fails", [] {
    const Stream main, side;
    const Array x(main, {1}), y(main, {1});
    cuda::check(cudaStreamBeginCapture(main, cudaStreamCaptureModeThreadLocal), "begin");
    launch(add, 1, 1, 0, main, x.data, 1);
    order(main, side);
    launch(add, 1, 1, 0, side, y.data, 1);
    cudaGraph_t graph = nullptr;
    expect(cudaStreamEndCapture(main, &graph) == cudaErrorStreamCaptureUnjoined, "it ended");
    cudaGetLastError();
    // The streams are usable again, and nothing of it runs. x is filled on the first.
    order(main, side);
    launch(add, 1, 1, 0, side, x.data, 5);
    side.wait();
    expect_same(x.values(), {6});
  });
  checks.add_death("a wait within a capture", "while it is captured", [] {
    const Stream main;
    cuda::check(cudaStreamBeginCapture(main, cudaStreamCaptureModeThreadLocal), "begin");
    main.wait();
  });
  checks.add_death("memory from within a capture", "memory is allocated in a capture", [] {
    const Stream main;
    cuda::check(cudaStreamBeginCapture(main, cudaStreamCaptureModeThreadLocal), "begin");
    const Array x(main, {1});
  });
  checks.add_death("an allocation beside a capture", "cudaMalloc while a stream is captured", [] {
    const Stream main;
    cuda::check(cudaStreamBeginCapture(main, cudaStreamCaptureModeThreadLocal), "begin");
    float* data;
    cudaMalloc(&data, 4);
  });
  checks.add("and after it", [] {
    const Stream main;
    const Array x(main, {1});
    Recorded recorded;
    record(main, &recorded.graph, [&] { launch(add, 1, 1, 0, main, x.data, 1); });
    float* data;
    cuda::check(cudaMalloc(&data, 4), "cudaMalloc");
    cuda::check(cudaFree(data), "cudaFree");
  });
  checks.add_death("an event from outside in a capture", "not part of the capture", [] {
    const Stream main, other;
    cuda::check(cudaStreamBeginCapture(main, cudaStreamCaptureModeThreadLocal), "begin");
    order(other, main);
  });
  checks.add_death("an event of a capture that is over", "a capture that has ended", [] {
    const Stream main, other;
    const Event event;
    Recorded recorded;
    record(main, &recorded.graph, [&] { cudaEventRecord(event, main); });
    cudaStreamWaitEvent(other, event);
  });
}

}  // namespace

void add_stream_checks(Checks& checks) {
  checks.add("work on two streams with an event is in order",
             [] { expect(always(4, true), "another order"); });
  checks.add("work on two streams without an event is not",
             [] { expect(!always(4, false) && !always(3, false), "always the same order"); });
  checks.add_death("the default stream", "the default stream", [] {
    const Stream stream;
    const Array x(stream, {1});
    launch(add, 1, 1, 0, static_cast<cudaStream_t>(nullptr), x.data, 1);
  });
  checks.add("an event is there when what it follows has run", [] {
    const Stream stream;
    const Array x(stream, {1});
    stream.wait();
    const Event event;
    launch(add, 1, 1, 0, stream, x.data, 1);
    cudaEventRecord(event, stream);
    int asked = 0;
    while (cudaEventQuery(event) == cudaErrorNotReady && asked < 1000) asked += 1;
    expect(asked < 1000, "never");
    cuda::check(cudaEventSynchronize(event), "wait");
  });
  add_graph_checks(checks);
}

}  // namespace fused_rnn::test
