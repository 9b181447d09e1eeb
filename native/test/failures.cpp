// What a recurrent call leaves behind when CUDA fails in the middle of it: nothing that still runs
// while its memory is given back, and a device that goes on. On native/cuda_host, whose n-th
// allocation, launch, product or call for a graph fails here, for every n, eagerly and with graphs.
// And a device that refuses persistent kernels, which are then done step by step.
//
//   cmake --build BUILD --target failures && BUILD/cuda-host/failures [part of a case's name]…
//
// Ends with "N passed, N failed".
#include <cstdio>
#include <cstring>
#include <exception>
#include <stdexcept>

#include "core/denormals.h"
#include "cuda/device/device.h"
#include "cuda/device/graphs.h"
#include "cuda_host/internal.h"
#include "ops/cuda.h"
#include "test/rnn_run.h"

namespace fused_rnn::test {
namespace {

using cuda_host::Call;

struct Kind {
  const char* name;
  Call call;
  int stride;  // of the n that are tried
  int count;   // so many calls fail
  bool copes;  // the call succeeds in spite of them
};
constexpr int kAllFromThen = INT_MAX;
constexpr Kind kKinds[] = {{"no memory", Call::allocation, 1, kAllFromThen, false},
                           {"no memory once", Call::allocation, 3, 1, true},
                           {"launches", Call::launch, 3, kAllFromThen, false},
                           {"products", Call::product, 2, kAllFromThen, false},
                           {"graphs", Call::graph, 1, kAllFromThen, true}};
// How the calls of a shape run, one after the other.
constexpr const char* kRounds[] = {"queued", "captured", "replayed"};

void expect(bool fine, const char* otherwise) {
  if (!fine) throw std::runtime_error(otherwise);
}

class Walk {
 public:
  Walk(const RnnCase& c, cuda::CudaDevice& device, Context& gpu)
      : c_(c), device_(device), gpu_(gpu) {
    Side side(cuda_backend(), gpu_, 0);
    expected_ = run_again(side);
  }

  // Fails the n-th call, and the next ones, in this round. False when there are fewer of them.
  bool attempt(const Kind& kind, int round, int n) {
    device_.graphs().clear();
    int failed = 0;
    {
      Side side(cuda_backend(), gpu_, 0);
      RnnRun run(c_, side);
      const RnnRun::Results results = run.results();
      for (int i = 0; i < round; ++i) run.run(results);
      run.clear();
      device_.wait();
      cuda_host::fail_from(kind.call, n, kind.count);
      std::string error;
      try {
        run.run(results);
      } catch (const std::runtime_error& e) {
        error = e.what();
      }
      failed = cuda_host::fail_from(kind.call, 0);
      expect(cudaPeekAtLastError() == cudaSuccess, "an error is left behind");
      expect(cuda_host::waits_for_all(device_.stream()), "work is left on a side stream");
      if (error.empty()) {
        expect(failed == 0 || kind.copes, "it went on in spite of a failure");
        expect_same(side.written());
      } else {
        expect(failed > 0, error.c_str());
        expect(!kind.copes, error.c_str());
      }
    }
    device_.wait();
    device_.refused.clear();
    // Whatever the graphs have become.
    Side side(cuda_backend(), gpu_, 0);
    expect_same(run_again(side));
    return failed > 0;
  }

  // What a shape's persistent kernels leave when the device refuses them.
  void refuse() {
    const bool persistent = traits_of(c_.cell).plain_steps && c_.proj == 0;
    cuda_host::fail_from(Call::launch_together, 1);
    std::vector<Written> first;
    for (int round = 0; round < 3; ++round) {
      Side side(cuda_backend(), gpu_, 0);
      const std::vector<Written> got = run_again(side);
      expect(cudaPeekAtLastError() == cudaSuccess, "an error is left behind");
      // Forward and backward, of all layers and directions, and not again.
      const size_t tried = persistent ? 2 : 0;
      expect(device_.refused.size() == tried, "other kernels are remembered");
      const int failed = cuda_host::fail_from(Call::launch_together, 1);
      expect(failed == (round == 0 ? static_cast<int>(tried) : 0), "another number of tries");
      expect_close(got);
      if (round == 0) first = got;
      expect_same(first, got);
    }
    cuda_host::fail_from(Call::launch_together, 0);
    // The way by which they agree is another one, so the bits are.
    if (persistent) expect(!same(expected_, first), "the kernel was there");
    device_.refused.clear();
    device_.graphs().clear();
  }

 private:
  std::vector<Written> run_again(Side& side) const {
    RnnRun run(c_, side);
    run.run(run.results());
    return side.written();
  }

  static bool same(const std::vector<float>& a, const std::vector<float>& b) {
    return std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
  }
  static bool same(const std::vector<Written>& a, const std::vector<Written>& b) {
    for (size_t i = 0; i < a.size(); ++i) {
      if (!same(a[i].floats, b[i].floats)) return false;
    }
    return true;
  }
  static void expect_same(const std::vector<Written>& expected, const std::vector<Written>& got) {
    for (size_t i = 0; i < got.size(); ++i) {
      if (!same(expected[i].floats, got[i].floats)) {
        throw std::runtime_error(got[i].name + " is another");
      }
    }
  }
  void expect_same(const std::vector<Written>& got) const { expect_same(expected_, got); }
  void expect_close(const std::vector<Written>& got) const {
    for (size_t i = 0; i < got.size(); ++i) {
      for (size_t j = 0; j < got[i].floats.size(); ++j) {
        const float a = expected_[i].floats[j], b = got[i].floats[j];
        const bool close = std::fabs(a - b) <= got[i].tolerance * (1 + std::fabs(a));
        if (!close) throw std::runtime_error(got[i].name + " is far from what it was");
      }
    }
  }

  const RnnCase& c_;
  cuda::CudaDevice& device_;
  Context& gpu_;
  std::vector<Written> expected_;
};

std::vector<RnnCase> cases() {
  const RnnCase gru{.name = "GRU",
                    .cell = CellKind::gru,
                    .layers = 2,
                    .directions = 2,
                    .input = 4,
                    .hidden = 5,
                    .proj = 0,
                    .bias = true,
                    .sizes = {3, 3, 2, 2, 1},
                    .states = true};
  RnnCase one_hot = gru;
  one_hot.name = "GRU, one-hot";
  one_hot.one_hot = true;
  RnnCase projected = gru;
  projected.name = "LSTM, projection";
  projected.cell = CellKind::lstm;
  projected.proj = 3;
  projected.states = false;
  RnnCase wave = projected;
  wave.name = "LSTM, projection, one direction";
  wave.directions = 1;
  wave.sizes = std::vector<int32_t>(9, 2);
  wave.dropout = 0.3f;
  RnnCase layers = wave;
  layers.name = "LSTM, one direction";
  layers.proj = 0;
  RnnCase norms = gru;
  norms.name = "layer-normalised LSTM";
  norms.cell = CellKind::layer_norm_lstm;
  return {gru, one_hot, projected, wave, layers, norms};
}

int walk_all(const std::vector<std::string>& names) {
  const FlushDenormals flush;
  std::setvbuf(stdout, nullptr, _IOLBF, BUFSIZ);
  ThreadPool pool(1);
  const std::atomic<bool> stopping{false};
  const std::shared_ptr<Device> opened = open_cuda(0);
  auto& device = static_cast<cuda::CudaDevice&>(*opened);
  device.enter_thread();
  set_cuda_precision(device, {Fp32Precision::ieee, Fp32Precision::ieee});
  Context gpu{pool, stopping, &device};
  int passed = 0, failed = 0;
  for (const RnnCase& c : cases()) {
    bool wanted = names.empty();
    for (const std::string& name : names) wanted |= c.name.find(name) != std::string::npos;
    if (!wanted) continue;
    Walk walk(c, device, gpu);
    try {
      walk.refuse();
      passed += 1;
    } catch (const std::exception& e) {
      failed += 1;
      std::printf("%s, refused: %s\n", c.name.c_str(), e.what());
    }
    for (const Kind& kind : kKinds) {
      for (int round = 0; round < static_cast<int>(std::size(kRounds)); ++round) {
        int n = 1;
        try {
          while (walk.attempt(kind, round, n)) n += kind.stride;
          passed += 1;
        } catch (const std::exception& e) {
          failed += 1;
          std::printf("%s, %s from the %d. on while it is %s: %s\n", c.name.c_str(), kind.name, n,
                      kRounds[round], e.what());
        }
      }
    }
  }
  device.wait();
  device.leave_thread();
  std::printf("%d passed, %d failed\n", passed, failed);
  return failed == 0 && passed > 0 ? 0 : 1;
}

}  // namespace
}  // namespace fused_rnn::test

int main(int argc, char** argv) { return fused_rnn::test::walk_all({argv + 1, argv + argc}); }
