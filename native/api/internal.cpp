#include "api/internal.h"

#include <stdexcept>

namespace fused_rnn {

void refuse(const std::string& function, const std::string& name, const std::string& expected,
            const std::string& got) {
  throw std::invalid_argument("[" + function + "] " + name + ": expected " + expected + ", got " +
                              got);
}

std::string text_of(const Shape& shape) {
  std::string text = "(";
  for (size_t i = 0; i < shape.size(); ++i) {
    text += (i > 0 ? ", " : "") + std::to_string(shape[i]);
  }
  return text + (shape.size() == 1 ? ",)" : ")");
}

int64_t elements_of(const std::string& function, const Shape& shape) {
  constexpr int64_t kMost = int64_t{1} << 51;
  if (shape.size() > kMaxDims) {
    refuse(function, "shape", "at most " + std::to_string(kMaxDims) + " dimensions",
           text_of(shape));
  }
  int64_t elements = 1;
  for (int64_t size : shape) {
    if (size < 0) refuse(function, "shape", "sizes of at least 0", text_of(shape));
    if (size > 0 && elements > kMost / size) {
      refuse(function, "shape", "fewer elements", text_of(shape));
    }
    elements *= size;
  }
  return elements;
}

void check_tensor(const std::string& function, const std::string& name, const Tensor& tensor,
                  const Engine& engine, DType dtype) {
  constexpr const char* kNames[] = {"float32", "int32", "bool"};
  const char* type = dtype == DType::int32 ? "an int32 tensor" : "a float32 tensor";
  if (!tensor) refuse(function, name, type, "none");
  if (tensor.dtype() != dtype) {
    refuse(function, name, type, kNames[static_cast<int>(tensor.dtype())]);
  }
  if (tensor.impl().engine.get() != &engine.impl()) {
    refuse(function, name, "a tensor of this engine", "one of another engine");
  }
}

void check_shape(const std::string& function, const std::string& name, const Tensor& tensor,
                 const Engine& engine, const Shape& shape, DType dtype) {
  check_tensor(function, name, tensor, engine, dtype);
  if (tensor.shape() != shape) {
    refuse(function, name, "shape " + text_of(shape), text_of(tensor.shape()));
  }
}

void check_size(const std::string& function, const std::string& name, int64_t value,
                int64_t least) {
  if (value < least) {
    refuse(function, name, "at least " + std::to_string(least), std::to_string(value));
  }
}

Tensor draw_uniform(const Engine& engine, Shape shape, double bound) {
  Engine::Impl& impl = engine.impl();
  const int64_t length = elements_of("Parameter", shape);
  const Buffer values = Buffer::make(length, DType::float32, impl.executor.device);
  random_into(impl.executor, values, RandomKind::uniform, static_cast<float>(-bound),
              static_cast<float>(bound), impl.next_random());
  return wrap(engine.shared(), values, std::move(shape));
}

void add_gradient(const Engine& engine, Parameter& parameter, const Buffer& gradient) {
  if (!gradient) return;
  if (!parameter.grad) {
    parameter.grad = wrap(engine.shared(), gradient, parameter.value.shape());
    return;
  }
  const Buffer to = buffer_of(parameter.grad);
  engine.impl().executor.enqueue("addInto", cost::elements(to.length), {gradient}, {to},
                                 [=](const Backend& backend, Context& context) {
                                   backend.add_into({to.f32(), gradient.f32(), to.length}, context);
                                 });
}

}  // namespace fused_rnn
