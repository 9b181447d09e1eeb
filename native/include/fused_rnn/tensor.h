// Engines (a device and the queue of its work) and tensors.
//
// An operation checks its arguments, puts its work on the engine's queue and returns at once; only
// reading values waits. An engine, with all that lives on it, is for one thread at a time; several
// threads take an engine each.
//
// Errors are exceptions: std::invalid_argument for arguments ("[LSTM.forward] input: expected shape
// (T, N, 3), got (2, 2)"), std::runtime_error for files, memory, devices, and for work that failed
// on the queue, which is reported by the next call that waits.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "fused_rnn/c.h"
#include "fused_rnn/dtype.h"
#include "fused_rnn/export.h"

namespace fused_rnn {

using Shape = std::vector<int64_t>;

// What products of float32 are computed in; sums are float32 always. A CPU has no tf32.
enum class Precision { ieee, tf32, bf16 };

// A handle; copies are the same engine. It lives as long as the last handle or tensor of it.
class FUSED_RNN_API Engine {
 public:
  // `device`: "cpu", "cuda" or "cuda:1"; `threads`: for the CPU's kernels, 0 takes all
  // processors that the process may use, or what FUSED_RNN_NUM_THREADS or OMP_NUM_THREADS says.
  // Results are the same bits for the same number of threads.
  explicit Engine(const std::string& device = "cpu", int threads = 0);

  // "cpu" or "cuda:0"
  const std::string& device() const;
  int threads() const;
  void set_threads(int threads);
  // From the operations that follow on; by default ieee, and on a GPU tf32 in recurrent layers. On
  // the CPU, bf16 rounds the factors of products, and tf32 is ieee.
  void set_precision(Precision matmul, Precision rnn);
  // Starts the random numbers (initial values, dropout) anew. The numbers are those that
  // manualSeed(seed) of the npm package gives.
  void manual_seed(uint64_t seed);
  // Waits for all work. Throws the first failure since the last report.
  void synchronize() const;

  struct Impl;  // the library's own
  Impl& impl() const { return *impl_; }
  const std::shared_ptr<Impl>& shared() const { return impl_; }

 private:
  friend class Tensor;
  explicit Engine(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}
  std::shared_ptr<Impl> impl_;
};

// A dense row-major array on an engine's device. A handle: copies share the memory.
class FUSED_RNN_API Tensor {
 public:
  // None: no state, no gradient.
  Tensor() = default;
  // Copies the values, as many as the shape has elements.
  Tensor(const Engine& engine, Shape shape, std::span<const float> values);
  Tensor(const Engine& engine, Shape shape, std::span<const int32_t> values);
  static Tensor zeros(const Engine& engine, Shape shape);

  // Whether there is one. All else needs one.
  explicit operator bool() const { return impl_ != nullptr; }
  const Shape& shape() const;
  DType dtype() const;
  int64_t numel() const;
  Engine engine() const;

  // The values, once the work on them is done. Throws what failed before.
  std::vector<float> floats() const;
  std::vector<int32_t> integers() const;
  // The value of a float32 tensor with one element.
  float item() const;

  // The same memory under another shape of as many elements.
  Tensor reshape(Shape shape) const;
  // Rows [begin, end) of the first dimension; shares the memory.
  Tensor rows(int64_t begin, int64_t end) const;

  // Gives the memory to another library by DLPack (fused_rnn/c.h), without a copy; waits until
  // the values are there. The receiver calls the deleter once, on any thread.
  DLManagedTensor* to_dlpack() const;
  // A tensor over somebody else's memory, float32 or int32, contiguous, on the engine's device.
  // Takes `tensor` over: its deleter is called when nobody needs the memory any more, on any
  // thread; when this throws, it stays the caller's.
  static Tensor from_dlpack(const Engine& engine, DLManagedTensor* tensor);

  struct Impl;  // the library's own
  explicit Tensor(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}
  const Impl& impl() const;

 private:
  std::shared_ptr<const Impl> impl_;
};

}  // namespace fused_rnn
