// The cache of captured work (native/cuda/device/graphs.h).
#include "cuda/device/graphs.h"

#include <memory>

#include "test/cuda_host/checks.h"

namespace fused_rnn::test {
namespace {

using cuda::GraphCache;
using cuda::GraphCounts;
using cuda::GraphMode;

__global__ void count(float* x) { *x += 1; }

// Runs that count up in arrays of one element, by way of a cache.
class Runs {
 public:
  Runs(int arrays, GraphMode mode) : cache_(mode), before_(cuda::graph_counts()) {
    for (int i = 0; i < arrays; ++i) arrays_.push_back(std::make_unique<Array>(stream_, kZero));
    expected_.resize(arrays_.size());
  }
  ~Runs() { stream_.wait(); }

  void run(size_t i, int64_t shape = 0) {
    float* x = arrays_[i]->data;
    cache_.run({{shape}, {x}}, stream_, [&] { launch(count, 1, 1, 0, stream_, x); });
    expected_[i] += 1;
  }
  // Since the beginning.
  void expect_counts(const GraphCounts& expected) const {
    for (size_t i = 0; i < arrays_.size(); ++i) expect_same(arrays_[i]->values(), {expected_[i]});
    const GraphCounts now = cuda::graph_counts();
    const auto same = [](const char* what, int64_t got, int64_t wanted) {
      expect(got == wanted, std::string(what) + ": expected " + std::to_string(wanted) + ", got " +
                                std::to_string(got));
    };
    same("launched", now.launched - before_.launched, expected.launched);
    same("captured", now.captured - before_.captured, expected.captured);
    same("updated", now.updated - before_.updated, expected.updated);
    same("queued", now.queued - before_.queued, expected.queued);
  }

 private:
  static inline const std::vector<float> kZero = {0};

  const Stream stream_;
  std::vector<std::unique_ptr<Array>> arrays_;
  std::vector<float> expected_;
  GraphCache cache_;
  const GraphCounts before_;
};

}  // namespace

void add_graph_cache_checks(Checks& checks) {
  checks.add("graphs: queued, captured, replayed", [] {
    Runs runs(2, GraphMode::normal);
    for (int i = 0; i < 10; ++i) runs.run(0);
    runs.expect_counts({9, 1, 0, 1});
    for (int i = 0; i < 10; ++i) runs.run(static_cast<size_t>(i % 2));
    runs.expect_counts({19, 2, 0, 1});
    // Another shape on the same addresses.
    for (int i = 0; i < 10; ++i) runs.run(0, 1);
    runs.expect_counts({28, 3, 0, 2});
  });
  checks.add("graphs: off", [] {
    Runs runs(1, GraphMode::off);
    for (int i = 0; i < 10; ++i) runs.run(0);
    runs.expect_counts({0, 0, 0, 10});
  });
  checks.add("graphs: a longer cycle of addresses than there are graphs", [] {
    Runs runs(6, GraphMode::normal);
    for (int i = 0; i < 1 + 8; ++i) runs.run(static_cast<size_t>(i % 6));
    runs.expect_counts({8, 4, 4, 1});
    // Then the four that are there stay a while, and are replayed when it is their turn.
    const GraphCounts before = cuda::graph_counts();
    for (int i = 9; i < 9 + 6 * 100; ++i) runs.run(static_cast<size_t>(i % 6));
    const GraphCounts now = cuda::graph_counts();
    const int64_t made = now.captured + now.updated - before.captured - before.updated;
    const int64_t launched = now.launched - before.launched;
    expect(made <= 600 / 6, "made " + std::to_string(made));
    expect(launched - made >= 600 / 2, "replayed " + std::to_string(launched - made));
  });
  checks.add("graphs: addresses that never come again are captured less and less", [] {
    constexpr int kArrays = 600;
    Runs runs(kArrays, GraphMode::normal);
    for (int i = 0; i < kArrays; ++i) runs.run(static_cast<size_t>(i));
    // 1 queued; 8 captures and 16 queued; then 1 and 32, 64, 128, 256; 1 and the rest of 600.
    runs.expect_counts({8 + 5, 4, 9, 600 - 13});
    // What repeats is replayed again, when it has been captured.
    for (int i = 0; i < 1500; ++i) runs.run(kArrays - 1);
    const GraphCounts before = cuda::graph_counts();
    for (int i = 0; i < 100; ++i) runs.run(kArrays - 1);
    expect(cuda::graph_counts().launched - before.launched == 100, "it is not replayed");
    expect(cuda::graph_counts().queued == before.queued, "it is queued");
  });
}

}  // namespace fused_rnn::test
