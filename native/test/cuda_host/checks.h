// Checks of native/cuda_host itself: that it computes what CUDA would, and that it catches what
// hardware hides.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "cuda/device/runtime.h"

namespace fused_rnn::test {

using cuda::launch;

struct Check {
  std::string name;
  std::function<void()> run;
  // What it says when it ends the process; empty: it has to return. "AddressSanitizer" stands for
  // whatever that finds.
  std::string dies_with;
};

class Checks {
 public:
  void add(std::string name, std::function<void()> run) {
    all_.push_back({std::move(name), std::move(run), {}});
  }
  void add_death(std::string name, std::string message, std::function<void()> run) {
    all_.push_back({std::move(name), std::move(run), std::move(message)});
  }
  const std::vector<Check>& all() const { return all_; }

 private:
  std::vector<Check> all_;
};

void add_block_checks(Checks& checks);        // blocks.cpp
void add_warp_checks(Checks& checks);         // warps.cpp
void add_grid_checks(Checks& checks);         // grids.cpp
void add_cluster_checks(Checks& checks);      // clusters.cpp
void add_memory_checks(Checks& checks);       // memory.cpp
void add_stream_checks(Checks& checks);       // streams.cpp
void add_graph_cache_checks(Checks& checks);  // graphs.cpp

// Throws std::runtime_error with the text.
void expect(bool fine, const std::string& otherwise);
void expect_same(const std::vector<float>& got, const std::vector<float>& expected);

// The order of everything that runs from here on.
void seed(unsigned number);
constexpr unsigned kSeeds = 20;

class Stream {
 public:
  Stream() { cuda::check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "stream"); }
  ~Stream() { cudaStreamDestroy(stream_); }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  operator cudaStream_t() const { return stream_; }
  void wait() const { cuda::check(cudaStreamSynchronize(stream_), "wait"); }

 private:
  cudaStream_t stream_;
};

// Floats on the device.
class Array {
 public:
  Array(cudaStream_t stream, const std::vector<float>& values);
  ~Array() { cudaFreeAsync(data, stream_); }
  Array(const Array&) = delete;
  Array& operator=(const Array&) = delete;
  std::vector<float> values() const;  // when all that is queued has run

  float* data;

 private:
  cudaStream_t stream_;
  size_t size_;
};

inline std::vector<float> repeated(float value, size_t n) { return std::vector<float>(n, value); }

// A launch of its own of a kernel whose first argument is 64 zeros.
template <class... P, class... A>
std::function<void()> run_once(void (*kernel)(P...), dim3 grid, dim3 block, A... args) {
  return [=] {
    Stream stream;
    const Array x(stream, repeated(0, 64));
    launch(kernel, grid, block, 0, stream, x.data, args...);
    stream.wait();
  };
}

}  // namespace fused_rnn::test
