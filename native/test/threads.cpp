// The queue, the thread pool and the time loop's barriers from several threads at once, for
// ThreadSanitizer (npm run test:tsan). Needs no Node. What is computed is compared with the same on
// one thread, so it can also fail without a sanitizer.
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "cells/weights.h"
#include "core/barrier.h"
#include "core/queue.h"
#include "ops/backend.h"

namespace fused_rnn {
namespace {

// Threads are not to be held back by how few there are: they wait for each other all the more.
constexpr int kProcessors = 64;

int passed = 0, failed = 0;

void expect(bool ok, const char* what) {
  (ok ? passed : failed) += 1;
  if (!ok) std::printf("failed: %s\n", what);
}

// ---- The pool
// -------------------------------------------------------------------------------------

void pool_shares_loops() {
  ThreadPool pool(3, kProcessors);
  bool right = true;
  for (int round = 0; round < 2000; ++round) {
    if (round % 250 == 0) pool.resize(1 + round / 250 % 4);
    std::vector<int> seen(static_cast<size_t>(round % 97));
    pool.parallel_for(static_cast<int64_t>(seen.size()), 8, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) seen[static_cast<size_t>(i)] += 1;
    });
    for (int count : seen) right = right && count == 1;
  }
  expect(right, "every element of a shared loop is visited once");
}

void pool_passes_exceptions_on() {
  ThreadPool pool(4, kProcessors);
  int caught = 0;
  for (int round = 0; round < 200; ++round) {
    try {
      pool.parallel(8, [&](int task) {
        if (task == round % 8) throw std::runtime_error("task");
      });
    } catch (const std::runtime_error&) {
      caught += 1;
    }
  }
  expect(caught == 200, "an exception of a task reaches the caller");
}

// ---- The queue
// ------------------------------------------------------------------------------------

// Adds `by` to a counter that lies in a storage, as operations do.
Job add_job(const Buffer& buffer, int by) {
  Job job;
  job.op = "add";
  job.reads = {buffer};
  job.writes = {buffer};
  job.run = [buffer, by](Context& context) {
    int* value = buffer.i32();
    context.pool.parallel_for(1 << 12, 1 << 8, [](int64_t, int64_t) {});
    *value += by;
  };
  return job;
}

Buffer zero() {
  Buffer buffer = Buffer::make(1, DType::int32);
  *buffer.i32() = 0;
  return buffer;
}

// What a program does: operations behind each other, small ones at once where nothing is before
// them, a wait for room now and then.
bool queue_works(int seed) {
  Queue queue(1 + seed % 3);
  const Buffer buffer = zero();
  int expected = 0;
  std::atomic<int> room{0};
  for (int i = 0; i < 3000; ++i) {
    expected += i % 7;
    if (queue.idle()) {
      queue.run_here("add", {buffer}, {buffer}, false, [&](Context&) { *buffer.i32() += i % 7; });
    } else {
      queue.push(add_job(buffer, i % 7));
    }
    if (i % 64 == 0) queue.when_room([&] { room += 1; });
    if (i % 500 == 0) queue.set_threads(1 + (i / 500 + seed) % 4);
  }
  while (!queue.idle()) std::this_thread::yield();
  return *buffer.i32() == expected && queue.take_error().empty();
}

void queues_side_by_side() {
  std::atomic<int> right{0};
  std::vector<std::thread> callers;
  for (int i = 0; i < 3; ++i) callers.emplace_back([&, i] { right += queue_works(i) ? 1 : 0; });
  for (auto& caller : callers) caller.join();
  expect(right == 3, "three environments at once");
}

void queue_reports_failures() {
  Queue queue(2);
  const Buffer from = zero(), to = zero();
  Job bad;
  bad.op = "bad";
  bad.writes = {from};
  bad.run = [](Context&) { throw std::runtime_error("no"); };
  queue.push(std::move(bad));
  Job next;
  next.op = "next";
  next.reads = {from};
  next.writes = {to};
  next.run = [](Context&) { expect(false, "an operation on poisoned memory does not run"); };
  queue.push(std::move(next));
  while (!queue.idle()) std::this_thread::yield();
  expect(to.storage->poisoned() != nullptr, "poison passes on");
  expect(queue.take_error() == "[bad] no", "the first failure is kept");
}

void queue_stops_while_busy() {
  for (int round = 0; round < 50; ++round) {
    Queue queue(1 + round % 3);
    const Buffer buffer = zero();
    for (int i = 0; i < 200; ++i) queue.push(add_job(buffer, 1));
    std::thread stopper([&] { queue.stop(); });
    for (int i = 0; i < 200; ++i) queue.push(add_job(buffer, 1));
    stopper.join();
  }
  expect(true, "stops while busy");
}

// ---- The time loop
// --------------------------------------------------------------------------------

struct Layer {
  RnnShape shape{};
  std::vector<int32_t> sizes;
  std::vector<std::vector<float>> weights;
  std::vector<float> x;

  Layer(CellKind cell, int64_t hidden, int64_t batch, int64_t steps, int64_t directions)
      : sizes(static_cast<size_t>(steps), static_cast<int32_t>(batch)) {
    shape = {.cell = cell,
             .layers = 2,
             .directions = directions,
             .steps = steps,
             .batch = batch,
             .rows = steps * batch,
             .input = 24,
             .hidden = hidden,
             .proj = 0,
             .bias = true,
             .batch_sizes = sizes.data()};
    for (int64_t layer = 0; layer < 2; ++layer) {
      for (int64_t d = 0; d < directions; ++d) {
        for (const CellWeight& weight : weights_of(cell)) {
          if (!has_weight(shape, weight)) continue;
          weights.push_back(numbers(weight_floats(shape, layer, weight)));
        }
      }
    }
    x = numbers(shape.rows * shape.input);
  }

  static std::vector<float> numbers(int64_t n) {
    std::vector<float> result(static_cast<size_t>(n));
    for (size_t i = 0; i < result.size(); ++i) {
      result[i] = std::sin(static_cast<float>(i * 7 % 1000)) * 0.1f;
    }
    return result;
  }

  // The output and the gradients of all weights, one after the other.
  std::vector<float> run(int threads) const {
    ThreadPool pool(threads, kProcessors);
    const std::atomic<bool> stopping{false};
    Context context{pool, stopping};
    const Backend& backend = cpu_backend();
    const auto stacks = static_cast<size_t>(shape.layers * shape.directions);
    std::vector<RnnWeights> pointers;
    std::vector<std::vector<float>> grads;
    std::vector<RnnWeightGrads> into;
    for (const auto& w : weights) grads.emplace_back(w.size());
    auto w = weights.begin();
    auto g = grads.begin();
    for (size_t i = 0; i < stacks; ++i) {
      RnnWeights& of = pointers.emplace_back();
      RnnWeightGrads& to = into.emplace_back();
      for (const CellWeight& weight : weights_of(shape.cell)) {
        if (!has_weight(shape, weight)) continue;
        of.*weight.value = (w++)->data();
        to.*weight.gradient = (g++)->data();
      }
    }
    const auto states =
        static_cast<size_t>(shape.layers * shape.directions * shape.batch * shape.hidden);
    std::vector<float> y(static_cast<size_t>(shape.rows * shape.directions * shape.hidden));
    std::vector<float> hn(states);
    std::vector<float> cn(states * static_cast<size_t>(traits_of(shape.cell).states));
    std::vector<float> workspace(static_cast<size_t>(rnn_workspace_floats(shape)));
    backend.rnn_forward({.shape = shape,
                         .weights = pointers.data(),
                         .x = {x.data(), nullptr},
                         .h0 = nullptr,
                         .c0 = nullptr,
                         .dropout = {0.25f, 1, 2},
                         .y = y.data(),
                         .hn = hn.data(),
                         .cn = cn.data(),
                         .workspace = workspace.data()},
                        context);
    backend.rnn_backward({.shape = shape,
                          .weights = pointers.data(),
                          .x = {x.data(), nullptr},
                          .dropout = {0.25f, 1, 2},
                          .workspace = workspace.data(),
                          .dy = y.data(),
                          .dhn = nullptr,
                          .dcn = nullptr,
                          .dx = nullptr,
                          .dh0 = nullptr,
                          .dc0 = nullptr,
                          .grads = into.data()},
                         context);
    std::vector<float> all = y;
    for (const auto& g : grads) all.insert(all.end(), g.begin(), g.end());
    return all;
  }
};

void layers_on_many_threads() {
  constexpr struct {
    CellKind cell;
    int64_t hidden, batch, steps, directions;
  } kCases[] = {{CellKind::lstm, 96, 24, 12, 1},  // slices of the batch
                {CellKind::gru, 320, 8, 6, 1},    // threads of one slice, which meet at a barrier
                {CellKind::rnn_tanh, 64, 48, 20, 2},
                {CellKind::lstm, 384, 16, 5, 2},
                {CellKind::layer_norm_lstm, 96, 24, 12, 1},
                {CellKind::layer_norm_lstm, 384, 16, 5, 2},
                {CellKind::gru_reset_before, 320, 8, 6, 1},
                {CellKind::slstm, 384, 16, 5, 2}};
  for (const auto& c : kCases) {
    const Layer layer(c.cell, c.hidden, c.batch, c.steps, c.directions);
    const std::vector<float> expected = layer.run(1);
    for (int threads : {2, 3, 4, 7, 32}) {
      const std::vector<float> got = layer.run(threads);
      float worst = 0;
      for (size_t i = 0; i < got.size(); ++i) {
        const float size = std::fmax(1.0f, std::fabs(expected[i]));
        worst = std::fmax(worst, std::fabs(got[i] - expected[i]) / size);
      }
      expect(worst < 1e-4f, "a recurrent layer on many threads gives what one gives");
      const std::vector<float> again = layer.run(threads);
      const bool same = std::memcmp(again.data(), got.data(), got.size() * sizeof(float)) == 0;
      expect(same, "the same bits for the same number of threads");
    }
  }
}

// ---- The barrier of a time loop ---------------------------------------------------------------------

// What a thread writes without any order of its own before a barrier is there for the others after it.
void barriers_in_a_row(int members, int rounds) {
  ThreadPool pool(members, kProcessors);
  const std::atomic<bool> stopping{false};
  const Context context{pool, stopping};
  Barrier barrier;
  std::vector<int> values(static_cast<size_t>(members)), wrong(values.size());
  pool.parallel(members, [&](int i) {
    const auto own = static_cast<size_t>(i);
    for (int round = 0; round < rounds; ++round) {
      values[own] = round + i;
      barrier.wait(members, context);
      for (int k = 0; k < members; ++k) {
        wrong[own] += values[static_cast<size_t>(k)] != round + k;
      }
      barrier.wait(members, context);
    }
  });
  int sum = 0;
  for (int count : wrong) sum += count;
  expect(sum == 0, "after a barrier every thread sees what the others wrote before it");
}

void barriers() {
  for (int members : {2, 3, 8}) barriers_in_a_row(members, members > 2 ? 300 : 2000);
}

// A line for each part: where threads are emulated, some take minutes.
int run_all() {
  constexpr struct {
    const char* name;
    void (*run)();
  } kParts[] = {{"barriers", barriers},
                {"shared loops", pool_shares_loops},
                {"exceptions", pool_passes_exceptions_on},
                {"queues side by side", queues_side_by_side},
                {"failures", queue_reports_failures},
                {"stopping", queue_stops_while_busy},
                {"layers", layers_on_many_threads}};
  for (const auto& part : kParts) {
    const auto start = std::chrono::steady_clock::now();
    part.run();
    const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
    std::printf("%s: %.1f s\n", part.name, taken.count());
    std::fflush(stdout);
  }
  std::printf("%d passed, %d failed\n", passed, failed);
  return failed == 0 ? 0 : 1;
}

int run_barriers(int members, int rounds) {
  barriers_in_a_row(members, rounds);
  std::printf("%d threads, %d rounds of two barriers: %s\n", members, rounds,
              failed == 0 ? "passed" : "failed");
  return failed == 0 ? 0 : 1;
}

}  // namespace
}  // namespace fused_rnn

// threads [ROUNDS]: so many barriers and nothing else, by as many threads as there are processors.
int main(int count, char** arguments) {
  if (count < 2) return fused_rnn::run_all();
  const int processors = static_cast<int>(std::thread::hardware_concurrency());
  return fused_rnn::run_barriers(processors > 2 ? processors : 2, std::atoi(arguments[1]));
}
