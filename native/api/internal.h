// What the C++ interface is made of.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "engine/calls.h"
#include "engine/executor.h"
#include "fused_rnn/layers.h"
#include "fused_rnn/tensor.h"

namespace fused_rnn {

struct Engine::Impl {
  Impl(int64_t number, int threads);

  // The seed and counter for one random operation, as ts/random.ts counts them.
  RandomStream next_random() { return {seed, counter++}; }
  // Waits until the queue has come here and work() has run. Throws as core/queue.h says.
  void wait(Buffers reads, const std::function<void()>& work);

  const int64_t number;  // of a GPU, or -1
  const std::string name;
  Executor executor;
  uint64_t seed;
  uint64_t counter = 0;
};

struct Tensor::Impl {
  std::shared_ptr<Engine::Impl> engine;
  Buffer buffer;
  Shape shape;
};

inline Tensor wrap(const std::shared_ptr<Engine::Impl>& engine, Buffer buffer, Shape shape) {
  return Tensor(std::make_shared<Tensor::Impl>(engine, std::move(buffer), std::move(shape)));
}
// Of an absent buffer: none.
inline Tensor wrap_if(const std::shared_ptr<Engine::Impl>& engine, Buffer buffer, Shape shape) {
  return buffer ? wrap(engine, std::move(buffer), std::move(shape)) : Tensor();
}
// Of none: absent.
inline Buffer buffer_of(const Tensor& tensor) { return tensor ? tensor.impl().buffer : Buffer{}; }

// ---- Errors: "[function] name: expected …, got …" ---------------------------------------------

[[noreturn]] void refuse(const std::string& function, const std::string& name,
                         const std::string& expected, const std::string& got);
// "(2, 3)"; -1 stands for any size, "T" and so on are the caller's to write.
std::string text_of(const Shape& shape);
int64_t elements_of(const std::string& function, const Shape& shape);
// Throws unless there is a tensor of this type on this engine.
void check_tensor(const std::string& function, const std::string& name, const Tensor& tensor,
                  const Engine& engine, DType dtype = DType::float32);
// And of this shape.
void check_shape(const std::string& function, const std::string& name, const Tensor& tensor,
                 const Engine& engine, const Shape& shape, DType dtype = DType::float32);
// Throws unless value >= least.
void check_size(const std::string& function, const std::string& name, int64_t value, int64_t least);

// ---- Parameters -------------------------------------------------------------------------------

// float32, uniform in [-bound, bound).
Tensor draw_uniform(const Engine& engine, Shape shape, double bound);
// Adds to the parameter's gradient, of the same number of elements; an absent one adds nothing.
void add_gradient(const Engine& engine, Parameter& parameter, const Buffer& gradient);

}  // namespace fused_rnn
