#include "fused_rnn/layers.h"

#include <cmath>
#include <stdexcept>

#include "api/internal.h"
#include "engine/recurrent.h"

namespace fused_rnn {

// ---- Recurrent layers -------------------------------------------------------------------------

struct Recurrent::Saved::Impl {
  RecurrentCall call;
  Buffer workspace;
  Shape input_shape;
  bool h0, c0;  // whether they were given
};
Recurrent::Saved::Saved() = default;
Recurrent::Saved::~Saved() = default;
Recurrent::Saved::Saved(Saved&&) noexcept = default;
Recurrent::Saved& Recurrent::Saved::operator=(Saved&&) noexcept = default;

namespace {

Shape state_shape(const RnnShape& s, int64_t width) {
  return {s.layers * s.directions, s.batch, width};
}

// Of the layers, without a batch.
RnnShape sizes_of(int cell, int64_t input_size, int64_t hidden_size,
                  const RecurrentOptions& options, int64_t proj_size) {
  return {.cell = static_cast<CellKind>(cell),
          .layers = options.num_layers,
          .directions = options.bidirectional ? 2 : 1,
          .steps = 0,
          .batch = 0,
          .rows = 0,
          .input = input_size,
          .hidden = hidden_size,
          .proj = proj_size,
          .bias = options.bias,
          .batch_sizes = nullptr};
}

}  // namespace

Recurrent::Recurrent(const Engine& engine, const char* name, int cell, int64_t input_size,
                     int64_t hidden_size, const RecurrentOptions& options, int64_t proj_size)
    : engine_(engine),
      name_(name),
      cell_(cell),
      input_size_(input_size),
      hidden_size_(hidden_size),
      proj_size_(proj_size),
      options_(options) {
  check_size(name, "input_size", input_size, 1);
  check_size(name, "hidden_size", hidden_size, 1);
  check_size(name, "num_layers", options.num_layers, 1);
  if (!(options.dropout >= 0 && options.dropout <= 1)) {
    refuse(name, "dropout", "a number between 0 and 1", std::to_string(options.dropout));
  }
  if (proj_size < 0 || proj_size >= hidden_size) {
    refuse(name, "proj_size", "at least 0 and below hidden_size", std::to_string(proj_size));
  }
  const RnnShape shape = sizes_of(cell, input_size, hidden_size, options, proj_size);
  const double bound = 1 / std::sqrt(static_cast<double>(hidden_size));
  for (int64_t layer = 0; layer < shape.layers; ++layer) {
    for (int64_t direction = 0; direction < shape.directions; ++direction) {
      const std::string suffix = "_l" + std::to_string(layer) + (direction == 1 ? "_reverse" : "");
      for (const CellWeight& weight : weights_of(shape.cell)) {
        if (!has_weight(shape, weight)) continue;
        Shape sizes = {weight_size(shape, layer, weight.rows)};
        if (weight.columns != WeightSize::none) {
          sizes.push_back(weight_size(shape, layer, weight.columns));
        }
        auto parameter = std::make_shared<Parameter>();
        parameter->value = draw_uniform(engine, std::move(sizes), bound);
        parameters_.emplace_back(weight.name + suffix, std::move(parameter));
      }
    }
  }
}

Recurrent::Output Recurrent::forward(const Tensor& input, const RecurrentState& state,
                                     Saved* saved) const {
  const std::string function = std::string(name_) + ".forward";
  check_tensor(function, "input", input, engine_);
  const Shape& shape = input.shape();
  if (shape.size() != 3 || shape[0] < 1 || shape[2] != input_size_) {
    refuse(function, "input", "shape (T, N, " + std::to_string(input_size_) + "), T at least 1",
           text_of(shape));
  }
  RecurrentCall call;
  call.shape = sizes_of(cell_, input_size_, hidden_size_, options_, proj_size_);
  call.shape.batch = shape[1];
  call.set_sizes(
      std::vector<int32_t>(static_cast<size_t>(shape[0]), static_cast<int32_t>(shape[1])));
  call.x = buffer_of(input);
  // Per layer and direction, absent where there is none.
  size_t at = 0;
  for (int64_t stack = 0; stack < call.stacks(); ++stack) {
    for (const CellWeight& weight : weights_of(call.shape.cell)) {
      call.weights.push_back(
          has_weight(call.shape, weight) ? buffer_of(parameters_[at++].second->value) : Buffer{});
    }
  }
  if (saved != nullptr && options_.dropout > 0) {
    const RandomStream stream = engine_.impl().next_random();
    call.dropout = {options_.dropout, stream.seed, stream.counter};
  }
  const Shape h_shape = state_shape(call.shape, call.shape.out());
  const Shape c_shape = state_shape(call.shape, hidden_size_);
  if (state.h) check_shape(function, "state.h", state.h, engine_, h_shape);
  if (state.c && !call.has_c()) refuse(function, "state.c", "none", "a tensor");
  if (state.c) check_shape(function, "state.c", state.c, engine_, c_shape);

  RecurrentOutput out = recurrent_forward(engine_.impl().executor, call, buffer_of(state.h),
                                          buffer_of(state.c), saved != nullptr);
  const auto& engine = engine_.shared();
  const Shape y_shape = {shape[0], shape[1], call.shape.directions * call.shape.out()};
  if (saved != nullptr) {
    saved->impl_.reset(new Saved::Impl{std::move(call), out.workspace, shape,
                                       static_cast<bool>(state.h), static_cast<bool>(state.c)});
  }
  return {wrap(engine, out.y, y_shape),
          {wrap(engine, out.hn, h_shape), wrap_if(engine, out.cn, c_shape)}};
}

Recurrent::Gradients Recurrent::backward(Saved& saved, const Tensor& doutput,
                                         const RecurrentState& dstate, bool input_gradient) {
  const std::string function = std::string(name_) + ".backward";
  if (saved.impl_ == nullptr) {
    refuse(function, "saved", "what forward() has saved", "one that is empty or used up");
  }
  const RecurrentCall& call = saved.impl_->call;
  const RnnShape& s = call.shape;
  const Shape h_shape = state_shape(s, s.out());
  const Shape c_shape = state_shape(s, hidden_size_);
  const Shape y_shape = {s.steps, s.batch, s.directions * s.out()};
  if (doutput) check_shape(function, "doutput", doutput, engine_, y_shape);
  if (dstate.h) check_shape(function, "dstate.h", dstate.h, engine_, h_shape);
  if (dstate.c) check_shape(function, "dstate.c", dstate.c, engine_, c_shape);

  std::vector<bool> needed(3 + call.weights.size(), true);
  needed[0] = input_gradient;
  needed[1] = saved.impl_->h0;
  needed[2] = saved.impl_->c0;
  const std::vector<Buffer> gradients =
      recurrent_backward(engine_.impl().executor, call, saved.impl_->workspace, buffer_of(doutput),
                         buffer_of(dstate.h), buffer_of(dstate.c), needed);
  size_t at = 0;
  for (size_t i = 3; i < gradients.size(); ++i) {
    if (gradients[i]) add_gradient(engine_, *parameters_[at++].second, gradients[i]);
  }
  const auto& engine = engine_.shared();
  Gradients result = {
      wrap_if(engine, gradients[0], saved.impl_->input_shape),
      {wrap_if(engine, gradients[1], h_shape), wrap_if(engine, gradients[2], c_shape)}};
  saved.impl_.reset();
  return result;
}

RNN::RNN(const Engine& engine, int64_t input_size, int64_t hidden_size,
         const RecurrentOptions& options, Nonlinearity nonlinearity)
    : Recurrent(engine, "RNN",
                static_cast<int>(nonlinearity == Nonlinearity::relu ? CellKind::rnn_relu
                                                                    : CellKind::rnn_tanh),
                input_size, hidden_size, options, 0) {}

GRU::GRU(const Engine& engine, int64_t input_size, int64_t hidden_size,
         const RecurrentOptions& options, bool reset_after)
    : Recurrent(engine, "GRU",
                static_cast<int>(reset_after ? CellKind::gru : CellKind::gru_reset_before),
                input_size, hidden_size, options, 0) {}

LSTM::LSTM(const Engine& engine, int64_t input_size, int64_t hidden_size,
           const RecurrentOptions& options, int64_t proj_size, bool peephole)
    : Recurrent(engine, "LSTM",
                static_cast<int>(peephole ? CellKind::lstm_peephole : CellKind::lstm), input_size,
                hidden_size, options, proj_size) {}

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
