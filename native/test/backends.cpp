// Compares the CUDA backend with the CPU's, operation by operation. Needs no Node; with
// FUSED_RNN_CUDA=host no GPU either.
//
//   cmake --build BUILD --target backends && BUILD/backends [-v] [part of a case's name]…
//
// Prints each case that differs (-v: each before it runs), and ends with "N passed, N failed".
#include "test/backends.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <exception>
#include <memory>
#include <optional>

#include "core/denormals.h"
#include "ops/cuda.h"

namespace fused_rnn::test {
namespace {

struct Outcome {
  std::vector<Written> written;
  std::string error;
};

// The first fault, after which the device is as it was before: only who has taken all of them has
// taken back the flag that keeps updates from being made.
std::optional<DeviceFault> take_faults(Device& device) {
  const std::optional<DeviceFault> first = device.take_fault();
  if (first) {
    while (device.take_fault()) {
    }
  }
  return first;
}

Outcome run(const Case& one, const Backend& backend, Context& context, int shift) {
  static uint64_t job = 0;
  Outcome outcome;
  try {
    Side side(backend, context, shift);
    if (context.device != nullptr) context.device->begin_job(++job);
    one.run(side);
    if (context.device != nullptr) {
      context.device->wait();
      if (const auto fault = take_faults(*context.device)) outcome.error = fault->message;
    }
    if (outcome.error.empty()) outcome.written = side.written();
  } catch (const std::exception& e) {
    outcome.error = e.what();
  }
  return outcome;
}

bool close(float a, float b, double tolerance) {
  if (std::isnan(a) || std::isnan(b)) return std::isnan(a) && std::isnan(b);
  if (std::isinf(a) || std::isinf(b)) return a == b;
  return std::fabs(double{a} - double{b}) <= tolerance * (1 + std::fabs(double{a}));
}

// What is different, or nothing.
std::string difference(const Case& one, const Outcome& expected, const Outcome& got) {
  if (expected.error != one.error || got.error != one.error) {
    return "expected the error '" + one.error + "', got '" + expected.error + "' and '" +
           got.error + "'";
  }
  for (size_t k = 0; k < expected.written.size(); ++k) {
    const Written &a = expected.written[k], &b = got.written[k];
    const size_t n = a.integer ? a.integers.size() : a.floats.size();
    for (size_t i = 0; i < n; ++i) {
      const bool same =
          a.integer ? a.integers[i] == b.integers[i] : close(a.floats[i], b.floats[i], a.tolerance);
      if (same) continue;
      const auto text = [&](const Written& w) {
        return a.integer ? std::to_string(w.integers[i]) : std::to_string(w.floats[i]);
      };
      return a.name + "[" + std::to_string(i) + " of " + std::to_string(n) + "]: expected " +
             text(a) + ", got " + text(b);
    }
  }
  return {};
}

// What changes in place is left alone once there is a fault, and no longer when it has been
// taken.
std::string check_faults(Context& gpu) {
  Side side(cuda_backend(), gpu, 0);
  const std::vector<float> before = {1, 2, 3};
  const auto update = [&](float* to) {
    const float* grad = side.values(std::vector<float>{1, 1, 1});
    const SgdTensor tensor{3, to, grad, nullptr, false};
    cuda_backend().sgd({1, &tensor, {nullptr, false, 0, INFINITY}, 1, 0, 0, 0, false, false}, gpu);
  };
  const auto copy = [&](float* to) {
    const float* from = side.values(std::vector<float>{0, 1, 2});
    cuda_backend().copy({to, from, 12, true}, gpu);
  };
  float* updated = side.expect("updated", side.values(before), 3);
  float* copied = side.expect("copied", side.values(before), 3);
  cuda_backend().one_hot({nullptr, side.values(std::vector<int32_t>{1, 9}), 2, 3}, gpu);
  update(updated);
  copy(copied);
  gpu.device->wait();
  for (const Written& written : side.written()) {
    if (written.floats != before) return written.name + " in spite of a fault";
  }
  if (!take_faults(*gpu.device)) return "no fault";
  update(updated);
  copy(copied);
  gpu.device->wait();
  for (const Written& written : side.written()) {
    if (written.floats != std::vector<float>{0, 1, 2}) return "not " + written.name;
  }
  return {};
}

int compare_all(std::vector<std::string> names) {
  const FlushDenormals flush;
  std::setvbuf(stdout, nullptr, _IOLBF, BUFSIZ);
  const bool verbose = !names.empty() && names.front() == "-v";
  if (verbose) names.erase(names.begin());
  if (!cuda_info().missing.empty()) {
    std::printf("no CUDA: %s\n", cuda_info().missing.c_str());
    return 1;
  }
  Cases cases;
  add_tensor_cases(cases);
  add_indexing_cases(cases);
  add_product_cases(cases);
  add_training_cases(cases);
  add_sequence_cases(cases);
  add_recurrent_cases(cases);
  add_elementwise_cases(cases);
  add_whole_loop_cases(cases);

  ThreadPool pool(1);
  const std::atomic<bool> stopping{false};
  const std::shared_ptr<Device> device = open_cuda(0);
  device->enter_thread();
  set_cuda_precision(*device, {Fp32Precision::ieee, Fp32Precision::ieee});
  Context host{pool, stopping}, gpu{pool, stopping, device.get()};
  int passed = 0, failed = 0;
  for (const Case& one : cases.all()) {
    bool wanted = names.empty();
    for (const std::string& name : names) wanted |= one.name.find(name) != std::string::npos;
    if (!wanted) continue;
    if (verbose) std::printf("%s\n", one.name.c_str());
    const Outcome expected = run(one, cpu_backend(), host, 0);
    // Also where nothing can be read 16 bytes at a time.
    std::string why;
    for (int shift = 0; shift < 2 && why.empty(); ++shift) {
      why = difference(one, expected, run(one, cuda_backend(), gpu, shift));
      set_cuda_precision(*device, {Fp32Precision::ieee, Fp32Precision::ieee});
      if (!why.empty() && shift > 0) why = "(not aligned) " + why;
    }
    if (why.empty()) {
      passed += 1;
    } else {
      failed += 1;
      std::printf("%s: %s\n", one.name.c_str(), why.c_str());
    }
  }
  if (names.empty() || std::find(names.begin(), names.end(), "faults") != names.end()) {
    const std::string why = check_faults(gpu);
    (why.empty() ? passed : failed) += 1;
    if (!why.empty()) std::printf("faults: %s\n", why.c_str());
  }
  device->wait();
  device->leave_thread();
  std::printf("%d passed, %d failed\n", passed, failed);
  return failed == 0 && passed > 0 ? 0 : 1;
}

}  // namespace
}  // namespace fused_rnn::test

int main(int argc, char** argv) { return fused_rnn::test::compare_all({argv + 1, argv + argc}); }
