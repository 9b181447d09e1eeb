#include <stdexcept>

#include "api/internal.h"

namespace fused_rnn {

SGD::SGD(Parameters parameters, const SGDOptions& options)
    : options(options), parameters_(std::move(parameters)), buffers_(parameters_.size()) {
  if (parameters_.empty()) refuse("SGD", "parameters", "at least one", "none");
}

void SGD::zero_grad() {
  for (auto& [name, parameter] : parameters_) parameter->grad = Tensor();
}

void SGD::step() {
  if (!(options.lr >= 0)) refuse("SGD", "lr", "at least 0", std::to_string(options.lr));
  if (options.nesterov && (options.momentum <= 0 || options.dampening != 0)) {
    refuse("SGD", "nesterov", "a momentum above 0 and dampening 0 with it",
           "momentum " + std::to_string(options.momentum) + ", dampening " +
               std::to_string(options.dampening));
  }
  const bool momentum = options.momentum != 0;
  struct Update {
    Buffer param, grad, buffer;
    bool first;
  };
  std::vector<Update> updates;
  std::vector<Buffer> reads;
  std::shared_ptr<Engine::Impl> engine;
  int64_t elements = 0;
  for (size_t i = 0; i < parameters_.size(); ++i) {
    const Parameter& parameter = *parameters_[i].second;
    if (!parameter.grad) continue;
    engine = parameter.value.impl().engine;
    check_shape("SGD", parameters_[i].first + ": grad", parameter.grad, parameter.value.engine(),
                parameter.value.shape());
    const bool first = !buffers_[i];
    if (momentum && first) {
      buffers_[i] = Tensor::zeros(parameter.value.engine(), parameter.value.shape());
    }
    updates.push_back({buffer_of(parameter.value), buffer_of(parameter.grad),
                       momentum ? buffer_of(buffers_[i]) : Buffer{}, first});
    for (const Buffer& buffer : {updates.back().param, updates.back().grad}) {
      reads.push_back(buffer);
      elements += buffer.length;
    }
    if (momentum) {
      reads.push_back(updates.back().buffer);
      elements += updates.back().buffer.length;
    }
  }
  if (updates.empty()) return;
  const SGDOptions now = options;
  // Nothing counts as written: where a gradient could not be computed, the parameters stay.
  engine->executor.enqueue(
      "SGD", cost::elements(elements), reads, {}, [=](const Backend& backend, Context& context) {
        std::vector<SgdTensor> tensors;
        for (const Update& u : updates) {
          tensors.push_back(
              {u.param.length, u.param.f32(), u.grad.f32(), u.buffer.f32(), momentum && u.first});
        }
        backend.sgd(
            {.count = static_cast<int64_t>(tensors.size()),
             .tensors = tensors.data(),
             .clip = {nullptr, now.max_grad_norm >= 0, static_cast<float>(now.max_grad_norm),
                      static_cast<float>(now.max_grad_value)},
             .lr = static_cast<float>(now.lr),
             .momentum = static_cast<float>(now.momentum),
             .dampening = static_cast<float>(now.dampening),
             .weight_decay = static_cast<float>(now.weight_decay),
             .nesterov = now.nesterov,
             .maximize = false},
            context);
      });
}

}  // namespace fused_rnn
