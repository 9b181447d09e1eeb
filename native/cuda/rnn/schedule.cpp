// How the time loops of a layer, or of all layers, reach the GPU: as one persistent kernel for the
// whole sequence (persistent.h), as a captured graph, which the host replays with one call, or step
// by step where they are short.
#include "cuda/device/cooperative.h"
#include "cuda/ops.h"
#include "cuda/rnn/experimental/experimental.h"
#include "cuda/rnn/loop.h"
#include "cuda/rnn/persistent.h"

namespace fused_rnn::cuda {
namespace {

// Shorter loops are queued about as fast as a graph of them is looked up and launched.
constexpr int64_t kStepsOfGraph = 4;

// Before anything is captured: a stream's cuBLAS handle, when it is new, takes memory.
std::vector<LaunchStream> side_streams(CudaDevice& device, int64_t count) {
  std::vector<LaunchStream> streams;
  for (int i = 0; i < std::min<int64_t>(count, CudaDevice::kSideStreams); ++i) {
    streams.push_back({device.side_stream(i), device.blas(i), device.precision.rnn});
  }
  return streams;
}

template <class Queue>
void run(CudaDevice& device, GraphKey key, Queue queue) {
  key.shape.push_back(static_cast<int64_t>(device.precision.rnn));
  device.graphs().run(std::move(key), device.stream(), queue);
}

// The caller goes on with a graph, which reads nothing that has been written.
void refuse(const LaunchRefused& e, CudaDevice& device) {
  device.refused.insert(e.kernel);
  count_refused_kernel();
}

// ---- The directions of a layer ------------------------------------------------------------------

Pass pass_of(const ForwardLoop&) { return Pass::forward; }
Pass pass_of(const BackwardLoop&) { return Pass::backward; }

template <class Loop>
void run_directions(const std::vector<Loop>& directions, Context& context) {
  CudaDevice& device = device_of(context);
  const RnnShape& shape = directions[0].shape;
  if (const auto tiling = persistent_tiling(shape, pass_of(directions[0]), device)) {
    try {
      return run_persistent(directions, *tiling, device);
    } catch (const LaunchRefused& e) {
      refuse(e, device);
    }
  }
  const int64_t steps = directions[0].plan.count();
  // The second one runs beside the first.
  const bool both = directions.size() > 1;
  const LaunchStream main = main_stream(device);
  const std::vector<LaunchStream> side = side_streams(device, both ? 1 : 0);
  const auto queue = [&] {
    SideWork beside(device, 0);
    if (both) beside.fork();
    queue_steps(directions[0], 0, steps, main, context);
    if (!both) return;
    queue_steps(directions[1], 0, steps, side[0], context);
    beside.join();
  };
  if (steps < kStepsOfGraph) return queue();
  GraphKey key;
  for (const Loop& loop : directions) describe(loop, key);
  run(device, std::move(key), queue);
}

// ---- The layers chunk by chunk ------------------------------------------------------------------
//
// The steps are divided into chunks. While a layer works on one chunk, the layer that it feeds
// works on the chunk before, on a stream of its own.

constexpr int64_t kFewestChunkedSteps = 8;

int64_t chunk_of(int64_t steps) { return std::clamp<int64_t>(steps / 8, 4, 32); }

struct Range {
  int64_t begin, end;
};
// The steps of chunk c. The backward pass begins at the end.
Range steps_of(const ForwardLoop&, int64_t c, int64_t chunk, int64_t steps) {
  return {c * chunk, std::min((c + 1) * chunk, steps)};
}
Range steps_of(const BackwardLoop&, int64_t c, int64_t chunk, int64_t steps) {
  return {std::max<int64_t>(steps - (c + 1) * chunk, 0), steps - c * chunk};
}

template <class Loop>
void queue_chunks(CudaDevice& device, const std::vector<Loop>& layers,
                  const std::vector<Feed>& feeds, const std::vector<LaunchStream>& streams,
                  Context& context) {
  const auto count = static_cast<int64_t>(layers.size());
  const StepPlan& plan = layers[0].plan;
  const int64_t steps = plan.count(), chunk = chunk_of(steps);
  const int64_t chunks = (steps + chunk - 1) / chunk;
  const auto stream_of = [&](int64_t k) {
    return streams[static_cast<size_t>(k) % streams.size()];
  };
  SideWork beside(device, 0, static_cast<int>(streams.size()));
  beside.fork();
  for (int64_t front = 0; front < chunks + count - 1; ++front) {
    // From the last layer on: what a layer waits for is then what was queued by the front before.
    for (int64_t k = std::min(count - 1, front); k >= std::max<int64_t>(front - chunks + 1, 0);
         --k) {
      const LaunchStream on = stream_of(k);
      const Range range = steps_of(layers[0], front - k, chunk, steps);
      if (k > 0) {
        const Step first = plan[range.begin], last = plan[range.end - 1];
        device.order(stream_of(k - 1).stream, on.stream);
        queue_feed(feeds[static_cast<size_t>(k)], first.row, last.row + last.active - first.row,
                   on);
      }
      queue_steps(layers[static_cast<size_t>(k)], range.begin, range.end, on, context);
    }
  }
  beside.join();
}

// Whether all of it was one launch.
template <class Loop>
bool run_as_wavefront(const std::vector<Loop>& layers, const std::vector<Feed>& feeds,
                      CudaDevice& device) {
  const auto tiling = wavefront_tiling(layers[0].shape, pass_of(layers[0]), device);
  if (!tiling) return false;
  try {
    run_wavefront(layers, feeds, *tiling, device);
    return true;
  } catch (const LaunchRefused& e) {
    refuse(e, device);
    return false;
  }
}

template <class Loop>
void run_overlapping(const std::vector<Loop>& layers, const std::vector<Feed>& feeds,
                     Context& context) {
  CudaDevice& device = device_of(context);
  if (run_as_wavefront(layers, feeds, device)) return;
  const std::vector<LaunchStream> streams =
      side_streams(device, static_cast<int64_t>(layers.size()));
  GraphKey key;
  for (size_t k = 0; k < layers.size(); ++k) {
    describe(layers[k], key);
    if (k > 0) describe(feeds[k], key);
  }
  run(device, std::move(key), [&] { queue_chunks(device, layers, feeds, streams, context); });
}

}  // namespace

LaunchStream main_stream(CudaDevice& device) {
  return {device.stream(), device.blas(), device.precision.rnn};
}

void run_layer_loop(const std::vector<ForwardLoop>& directions, Context& context) {
  run_directions(directions, context);
}
void run_layer_loop(const std::vector<BackwardLoop>& directions, Context& context) {
  run_directions(directions, context);
}

bool layers_overlap(const RnnShape& s, Pass pass, CudaDevice& device) {
  if (wavefront_tiling(s, pass, device)) return true;
  return s.layers > 1 && s.directions == 1 && StepPlan(s, false).count() >= kFewestChunkedSteps &&
         !persistent_tiling(s, pass, device);
}
void run_layers(const std::vector<ForwardLoop>& layers, const std::vector<Feed>& feeds,
                Context& context) {
  run_overlapping(layers, feeds, context);
}
void run_layers(const std::vector<BackwardLoop>& layers, const std::vector<Feed>& feeds,
                Context& context) {
  run_overlapping(layers, feeds, context);
}

}  // namespace fused_rnn::cuda
