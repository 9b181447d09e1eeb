#include "fused_rnn/tensor.h"

#include <chrono>
#include <future>
#include <stdexcept>

#include "api/internal.h"
#include "core/allocator.h"
#include "engine/dlpack.h"
#include "ops/cuda.h"

namespace fused_rnn {
namespace {

// -1 for "cpu", else the GPU's index.
int64_t device_number(const std::string& name) {
  if (name == "cpu") return -1;
  if (name == "cuda") return 0;
  const std::string digits = name.rfind("cuda:", 0) == 0 ? name.substr(5) : "";
  if (digits.empty() || digits.size() > 3 ||
      digits.find_first_not_of("0123456789") != std::string::npos) {
    refuse("Engine", "device", "'cpu', 'cuda' or 'cuda:N'", "'" + name + "'");
  }
  return std::stoll(digits);
}

const Backend& backend_of(int64_t number) {
  host_memory_limit();
  return number < 0 ? cpu_backend() : cuda_backend();
}

int threads_of(int64_t number, int threads) {
  if (threads < 0 || threads > 1024) {
    refuse("Engine", "threads", "0 to 1024", std::to_string(threads));
  }
  return number >= 0 ? 1 : threads == 0 ? default_threads().threads : threads;
}

std::shared_ptr<Device> open_device(int64_t number) {
  return number < 0 ? nullptr : open_cuda(static_cast<int>(number));
}

template <class T>
Tensor upload_as(const Engine& engine, Shape shape, std::span<const T> values, DType dtype) {
  const int64_t length = elements_of("Tensor", shape);
  if (length != static_cast<int64_t>(values.size())) {
    refuse("Tensor", "values", std::to_string(length) + " for shape " + text_of(shape),
           std::to_string(values.size()));
  }
  return wrap(engine.shared(), upload(engine.impl().executor, values.data(), length, dtype),
              std::move(shape));
}

template <class T>
std::vector<T> read(const char* function, const Tensor& tensor, DType dtype) {
  check_tensor(function, "tensor", tensor, tensor.engine(), dtype);
  const Buffer& buffer = tensor.impl().buffer;
  std::vector<T> values(static_cast<size_t>(buffer.length));
  tensor.impl().engine->wait({buffer}, [&] { copy_out(buffer, values.data()); });
  return values;
}

}  // namespace

// ---- Engine -----------------------------------------------------------------------------------

Engine::Impl::Impl(int64_t number, int threads)
    : number(number),
      name(number < 0 ? "cpu" : "cuda:" + std::to_string(number)),
      executor(backend_of(number), threads_of(number, threads), open_device(number)),
      seed(static_cast<uint64_t>(std::chrono::system_clock::now().time_since_epoch().count()) &
           ((uint64_t{1} << 48) - 1)) {}

void Engine::Impl::wait(Buffers reads, const std::function<void()>& work) {
  std::string error;
  if (executor.queue.idle()) {
    error = report(executor.queue, reads, work);
  } else {
    const auto reported = std::make_shared<std::promise<std::string>>();
    Job job;
    job.reads.assign(reads.begin(), reads.end());
    job.report = [&](Buffers reads) { return report(executor.queue, reads, work); };
    job.settle = [reported](std::string found) { reported->set_value(std::move(found)); };
    std::future<std::string> result = reported->get_future();
    executor.queue.push(std::move(job));
    error = result.get();
  }
  if (!error.empty()) throw std::runtime_error(error);
}

Engine::Engine(const std::string& device, int threads)
    : impl_(std::make_shared<Impl>(device_number(device), threads)) {}

const std::string& Engine::device() const { return impl_->name; }
int Engine::threads() const { return impl_->executor.queue.threads(); }
void Engine::set_threads(int threads) {
  check_size("Engine.set_threads", "threads", threads, 1);
  impl_->executor.queue.set_threads(threads_of(impl_->number, threads));
}
void Engine::set_precision(Precision matmul, Precision rnn) {
  if (impl_->executor.device == nullptr) {
    impl_->executor.precision = {matmul == Precision::bf16, rnn == Precision::bf16};
    return;
  }
  const CudaPrecision precision{static_cast<Fp32Precision>(matmul),
                                static_cast<Fp32Precision>(rnn)};
  impl_->executor.enqueue("setPrecision", 0, {}, {}, [=](const Backend&, Context& context) {
    set_cuda_precision(*context.device, precision);
  });
}
void Engine::manual_seed(uint64_t seed) {
  impl_->seed = seed;
  impl_->counter = 0;
}
void Engine::synchronize() const {
  impl_->wait({}, [] {});
}

// ---- Tensor -----------------------------------------------------------------------------------

Tensor::Tensor(const Engine& engine, Shape shape, std::span<const float> values)
    : Tensor(upload_as(engine, std::move(shape), values, DType::float32)) {}
Tensor::Tensor(const Engine& engine, Shape shape, std::span<const int32_t> values)
    : Tensor(upload_as(engine, std::move(shape), values, DType::int32)) {}

Tensor Tensor::zeros(const Engine& engine, Shape shape) {
  Executor& executor = engine.impl().executor;
  const Buffer out =
      Buffer::make(elements_of("Tensor.zeros", shape), DType::float32, executor.device);
  executor.enqueue("fill", cost::elements(out.length), {}, {out},
                   [=](const Backend& backend, Context& context) {
                     backend.fill({out.f32(), out.length, 0}, context);
                   });
  return wrap(engine.shared(), out, std::move(shape));
}

const Tensor::Impl& Tensor::impl() const {
  if (impl_ == nullptr) throw std::invalid_argument("[Tensor] expected a tensor, got none");
  return *impl_;
}
const Shape& Tensor::shape() const { return impl().shape; }
DType Tensor::dtype() const { return impl().buffer.dtype; }
int64_t Tensor::numel() const { return impl().buffer.length; }
Engine Tensor::engine() const { return Engine(impl().engine); }

std::vector<float> Tensor::floats() const {
  return read<float>("Tensor.floats", *this, DType::float32);
}
std::vector<int32_t> Tensor::integers() const {
  return read<int32_t>("Tensor.integers", *this, DType::int32);
}
float Tensor::item() const {
  if (numel() != 1) refuse("Tensor.item", "tensor", "one element", "shape " + text_of(shape()));
  return floats()[0];
}

Tensor Tensor::reshape(Shape shape) const {
  if (elements_of("Tensor.reshape", shape) != numel()) {
    refuse("Tensor.reshape", "shape", "a shape of " + std::to_string(numel()) + " elements",
           text_of(shape));
  }
  return wrap(impl().engine, impl().buffer, std::move(shape));
}

Tensor Tensor::rows(int64_t begin, int64_t end) const {
  Shape shape = this->shape();
  if (shape.empty() || begin < 0 || begin > end || end > shape[0]) {
    refuse("Tensor.rows", "range", "one within the first dimension of " + text_of(shape),
           "[" + std::to_string(begin) + ", " + std::to_string(end) + ")");
  }
  Buffer buffer = impl().buffer;
  const int64_t width = shape[0] == 0 ? 0 : buffer.length / shape[0];
  buffer.offset += begin * width;
  buffer.length = (end - begin) * width;
  shape[0] = end - begin;
  return wrap(impl().engine, std::move(buffer), std::move(shape));
}

DLManagedTensor* Tensor::to_dlpack() const {
  Engine::Impl& engine = *impl().engine;
  DLManagedTensor* exported = nullptr;
  engine.wait({impl().buffer},
              [&] { exported = export_dlpack(impl().buffer, impl().shape, engine.number); });
  return exported;
}

Tensor Tensor::from_dlpack(const Engine& engine, DLManagedTensor* tensor) {
  const char* function = "Tensor.from_dlpack";
  if (tensor == nullptr) refuse(function, "tensor", "a DLManagedTensor", "a null pointer");
  try {
    const int64_t number = dlpack_device(tensor->dl_tensor);
    if (number != engine.impl().number) {
      refuse(function, "tensor", "memory of " + engine.device(),
             number < 0 ? "the CPU's" : "that of cuda:" + std::to_string(number));
    }
    Imported imported = import_dlpack(tensor, engine.impl().executor);
    return wrap(engine.shared(), std::move(imported.buffer), std::move(imported.shape));
  } catch (const std::invalid_argument& e) {
    const std::string text = e.what();
    if (text.rfind('[', 0) == 0) throw;
    throw std::invalid_argument("[Tensor.from_dlpack] tensor: " + text);
  }
}

}  // namespace fused_rnn
