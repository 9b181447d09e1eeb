// Linear, Embedding and CrossEntropyLoss of fused_rnn/layers.h.
#include <cmath>

#include "api/internal.h"

namespace fused_rnn {

// ---- Linear -----------------------------------------------------------------------------------

Linear::Linear(const Engine& engine, int64_t in_features, int64_t out_features, bool bias)
    : engine_(engine), in_(in_features), out_(out_features) {
  check_size("Linear", "in_features", in_features, 1);
  check_size("Linear", "out_features", out_features, 1);
  const double bound = 1 / std::sqrt(static_cast<double>(in_features));
  const auto add = [&](const char* name, Shape shape) {
    auto parameter = std::make_shared<Parameter>();
    parameter->value = draw_uniform(engine, std::move(shape), bound);
    parameters_.emplace_back(name, std::move(parameter));
  };
  add("weight", {out_features, in_features});
  if (bias) add("bias", {out_features});
}

void Linear::tie_weight(std::shared_ptr<Parameter> weight) {
  check_shape("Linear.tie_weight", "weight", weight->value, engine_, {out_, in_});
  parameters_[0].second = std::move(weight);
}

Tensor Linear::forward(const Tensor& x) const {
  check_tensor("Linear.forward", "x", x, engine_);
  const int64_t m = x.shape().empty() ? 0 : x.shape()[0];
  check_shape("Linear.forward", "x", x, engine_, {m, in_});
  const Buffer bias = parameters_.size() > 1 ? buffer_of(parameters_[1].second->value) : Buffer{};
  const Buffer y = linear(engine_.impl().executor, buffer_of(x),
                          buffer_of(parameters_[0].second->value), bias, m, in_, out_);
  return wrap(engine_.shared(), y, {m, out_});
}

Tensor Linear::backward(const Tensor& x, const Tensor& dy, bool input_gradient) {
  check_tensor("Linear.backward", "x", x, engine_);
  const int64_t m = x.shape().empty() ? 0 : x.shape()[0];
  check_shape("Linear.backward", "x", x, engine_, {m, in_});
  check_shape("Linear.backward", "dy", dy, engine_, {m, out_});
  const Buffer weight = input_gradient ? buffer_of(parameters_[0].second->value) : Buffer{};
  const bool bias = parameters_.size() > 1;
  const LinearGradients gradients = linear_backward(engine_.impl().executor, buffer_of(dy),
                                                    buffer_of(x), weight, m, in_, out_, bias);
  add_gradient(engine_, *parameters_[0].second, gradients.dw);
  if (bias) add_gradient(engine_, *parameters_[1].second, gradients.db);
  return wrap_if(engine_.shared(), gradients.dx, {m, in_});
}

// ---- Embedding --------------------------------------------------------------------------------

Embedding::Embedding(const Engine& engine, int64_t num_embeddings, int64_t embedding_dim)
    : engine_(engine), rows_(num_embeddings), width_(embedding_dim) {
  check_size("Embedding", "num_embeddings", num_embeddings, 1);
  check_size("Embedding", "embedding_dim", embedding_dim, 1);
  Engine::Impl& impl = engine.impl();
  const Shape shape = {num_embeddings, embedding_dim};
  const Buffer table =
      Buffer::make(elements_of("Embedding", shape), DType::float32, impl.executor.device);
  random_into(impl.executor, table, RandomKind::normal, 0, 1, impl.next_random());
  auto parameter = std::make_shared<Parameter>();
  parameter->value = wrap(engine.shared(), table, shape);
  parameters_.emplace_back("weight", std::move(parameter));
}

Tensor Embedding::forward(const Tensor& indices) const {
  check_tensor("Embedding.forward", "indices", indices, engine_, DType::int32);
  Shape shape = indices.shape();
  shape.push_back(width_);
  const Buffer y =
      gather_rows(engine_.impl().executor, "embedding", buffer_of(parameters_[0].second->value),
                  buffer_of(indices), {1, rows_, width_});
  return wrap(engine_.shared(), y, std::move(shape));
}

void Embedding::backward(const Tensor& indices, const Tensor& dy) {
  check_tensor("Embedding.backward", "indices", indices, engine_, DType::int32);
  Shape shape = indices.shape();
  shape.push_back(width_);
  check_shape("Embedding.backward", "dy", dy, engine_, shape);
  const Buffer gradient = scatter_add_rows(engine_.impl().executor, buffer_of(dy),
                                           buffer_of(indices), {1, rows_, width_}, -1);
  add_gradient(engine_, *parameters_[0].second, gradient);
}

// ---- Loss -------------------------------------------------------------------------------------

namespace {

CrossEntropyCall call_of(const Tensor& logits, const Tensor& target,
                         const CrossEntropyOptions& options) {
  return {buffer_of(logits),
          buffer_of(target),
          {logits.shape()[0], logits.shape()[1], options.ignore_index, options.label_smoothing,
           false, Reduction::mean}};
}

}  // namespace

Tensor CrossEntropyLoss::forward(const Tensor& logits, const Tensor& target, Saved* saved) const {
  const char* function = "CrossEntropyLoss.forward";
  const Engine engine = logits.engine();
  check_tensor(function, "logits", logits, engine);
  if (logits.shape().size() != 2 || logits.shape()[1] == 0) {
    refuse(function, "logits", "shape (N, C)", text_of(logits.shape()));
  }
  check_shape(function, "target", target, engine, {logits.shape()[0]}, DType::int32);
  const auto [loss, lse] = cross_entropy(engine.impl().executor, call_of(logits, target, options_));
  if (saved != nullptr) *saved = {logits, target, wrap(engine.shared(), lse, target.shape())};
  return wrap(engine.shared(), loss, {});
}

Tensor CrossEntropyLoss::backward(const Saved& saved) const {
  const char* function = "CrossEntropyLoss.backward";
  if (!saved.logits || !saved.target || !saved.lse) {
    refuse(function, "saved", "what forward() has saved", "nothing");
  }
  const Engine engine = saved.logits.engine();
  const std::vector<float> one = {1};
  const Tensor dloss(engine, {}, one);
  const Buffer dlogits =
      cross_entropy_backward(engine.impl().executor, call_of(saved.logits, saved.target, options_),
                             buffer_of(saved.lse), buffer_of(dloss), true);
  return wrap(engine.shared(), dlogits, saved.logits.shape());
}

}  // namespace fused_rnn
