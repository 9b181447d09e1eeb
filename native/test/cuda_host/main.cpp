// Runs the checks; each that has to end the process in a child of its own.
//
//   cmake --build BUILD --target cuda_host && BUILD/cuda-host/cuda_host [part of a name]…
//
// Ends with "N passed, N failed".
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <stdexcept>

#include "cuda_host/internal.h"
#include "test/cuda_host/checks.h"

namespace fused_rnn::cuda {

void check(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  throw std::runtime_error(std::string(what) + ": " + cudaGetErrorString(error));
}

}  // namespace fused_rnn::cuda

namespace fused_rnn::test {

void expect(bool fine, const std::string& otherwise) {
  if (!fine) throw std::runtime_error(otherwise);
}

void expect_same(const std::vector<float>& got, const std::vector<float>& expected) {
  expect(got.size() == expected.size(), "another number of elements");
  for (size_t i = 0; i < got.size(); ++i) {
    expect(got[i] == expected[i], "[" + std::to_string(i) + "]: expected " +
                                      std::to_string(expected[i]) + ", got " +
                                      std::to_string(got[i]));
  }
}

void seed(unsigned number) { cuda_host::dice().seed(number); }

Array::Array(cudaStream_t stream, const std::vector<float>& values)
    : stream_(stream), size_(values.size()) {
  const size_t bytes = size_ * sizeof(float);
  cuda::check(cudaMallocAsync(&data, bytes, stream), "allocation");
  cuda::check(cudaMemcpyAsync(data, values.data(), bytes, cudaMemcpyHostToDevice, stream), "copy");
}

std::vector<float> Array::values() const {
  std::vector<float> result(size_);
  cuda::check(
      cudaMemcpyAsync(result.data(), data, size_ * sizeof(float), cudaMemcpyDeviceToHost, stream_),
      "copy");
  cuda::check(cudaStreamSynchronize(stream_), "wait");
  return result;
}

namespace {

std::string run_here(const Check& check) {
  try {
    seed(1);
    check.run();
  } catch (const std::exception& e) {
    return e.what();
  }
  return {};
}

// What is wrong, or nothing.
std::string run_to_its_end(const Check& check) {
  int ends[2];
  if (pipe(ends) != 0) return "no pipe";
  std::fflush(stdout);
  const pid_t child = fork();
  if (child == 0) {
    dup2(ends[1], STDERR_FILENO);
    close(ends[0]);
    close(ends[1]);
    // Of processor time, as others may keep the machine busy.
    const rlimit most{120, 120};
    setrlimit(RLIMIT_CPU, &most);
    const std::string why = run_here(check);
    std::fprintf(stderr, "%s\n", why.empty() ? "it went on" : why.c_str());
    _exit(0);
  }
  close(ends[1]);
  std::string said;
  char buffer[4096];
  for (ssize_t n; (n = read(ends[0], buffer, sizeof buffer)) > 0;) {
    said.append(buffer, static_cast<size_t>(n));
  }
  close(ends[0]);
  int status = 0;
  waitpid(child, &status, 0);
  const bool died = !(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  if (died && said.find(check.dies_with) != std::string::npos) return {};
  return "expected it to end with '" + check.dies_with + "', got: " + said.substr(0, 1000);
}

int run_all(const std::vector<std::string>& names) {
  std::setvbuf(stdout, nullptr, _IOLBF, BUFSIZ);
  Checks checks;
  add_block_checks(checks);
  add_warp_checks(checks);
  add_grid_checks(checks);
  add_cluster_checks(checks);
  add_memory_checks(checks);
  add_stream_checks(checks);
  add_graph_cache_checks(checks);
  int passed = 0, failed = 0;
  for (const Check& check : checks.all()) {
    bool wanted = names.empty();
    for (const std::string& name : names) wanted |= check.name.find(name) != std::string::npos;
    if (!wanted) continue;
    const std::string why = check.dies_with.empty() ? run_here(check) : run_to_its_end(check);
    (why.empty() ? passed : failed) += 1;
    if (!why.empty()) std::printf("%s: %s\n", check.name.c_str(), why.c_str());
  }
  std::printf("%d passed, %d failed\n", passed, failed);
  return failed == 0 && passed > 0 ? 0 : 1;
}

}  // namespace
}  // namespace fused_rnn::test

int main(int argc, char** argv) { return fused_rnn::test::run_all({argv + 1, argv + argc}); }
