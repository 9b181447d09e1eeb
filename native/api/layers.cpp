#include "fused_rnn/layers.h"

#include <cmath>
#include <stdexcept>

#include "api/internal.h"
#include "api/unit_layers.h"
#include "engine/recurrent.h"

namespace fused_rnn {

// ---- Recurrent layers -------------------------------------------------------------------------

struct Recurrent::Saved::Impl {
  RecurrentCall call;
  Buffer workspace;
  Shape input_shape;
  bool h0, c0;  // whether they were given
  // In place of call and workspace, of cells without a recurrent matrix.
  UnitStack stack{};
  std::vector<Buffer> weights;
  UnitSaved units;
};
Recurrent::Saved::Saved() = default;
Recurrent::Saved::~Saved() = default;
Recurrent::Saved::Saved(Saved&&) noexcept = default;
Recurrent::Saved& Recurrent::Saved::operator=(Saved&&) noexcept = default;

namespace {

// Cells without a recurrent matrix have the numbers behind those of CellKind.
constexpr int number_of(UnitCell cell) { return kCellCount + static_cast<int>(cell); }
constexpr bool is_unit_cell(int number) { return number >= kCellCount; }
constexpr UnitCell unit_cell(int number) { return static_cast<UnitCell>(number - kCellCount); }

std::string suffix_of(int64_t layer, int64_t direction) {
  return "_l" + std::to_string(layer) + (direction == 1 ? "_reverse" : "");
}

Tensor filled(const Engine& engine, const Shape& shape, float value) {
  const std::vector<float> values(static_cast<size_t>(elements_of("fill", shape)), value);
  return {engine, shape, values};
}

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
  if (is_unit_cell(cell)) {
    add_unit_parameters();
  } else {
    add_cell_parameters();
  }
}

void Recurrent::add_cell_parameters() {
  const RnnShape shape = sizes_of(cell_, input_size_, hidden_size_, options_, proj_size_);
  const CellTraits& traits = traits_of(shape.cell);
  const double bound = 1 / std::sqrt(static_cast<double>(hidden_size_));
  for (int64_t layer = 0; layer < shape.layers; ++layer) {
    for (int64_t direction = 0; direction < shape.directions; ++direction) {
      for (const CellWeight& weight : weights_of(shape.cell)) {
        if (!has_weight(shape, weight)) continue;
        Shape sizes = {weight_size(shape, layer, weight.rows)};
        if (weight.columns != WeightSize::none) {
          sizes.push_back(weight_size(shape, layer, weight.columns));
        }
        // One head.
        if (traits.heads && weight.value == &RnnWeights::w_hh) {
          sizes = {traits.gates, 1, hidden_size_, hidden_size_};
        }
        const std::string name = weight.name;
        const bool gain = name.starts_with("gain");
        auto parameter = std::make_shared<Parameter>();
        parameter->value = traits.norms && (gain || weight.bias)
                               ? filled(engine_, sizes, gain ? 1 : 0)
                               : draw_uniform(engine_, std::move(sizes), bound);
        parameters_.emplace_back(name + suffix_of(layer, direction), std::move(parameter));
      }
    }
  }
}

void Recurrent::add_unit_parameters() {
  const UnitCell cell = unit_cell(cell_);
  const int64_t directions = options_.bidirectional ? 2 : 1;
  const double bound = 1 / std::sqrt(static_cast<double>(hidden_size_));
  for (int64_t layer = 0; layer < options_.num_layers; ++layer) {
    const int64_t inputs = layer == 0 ? input_size_ : directions * hidden_size_;
    for (int64_t direction = 0; direction < directions; ++direction) {
      for (const UnitWeight& weight : unit_weights(cell, inputs, hidden_size_)) {
        if (weight.bias && !options_.bias) continue;
        auto parameter = std::make_shared<Parameter>();
        parameter->value = draw_uniform(engine_, weight.shape, bound);
        parameters_.emplace_back(weight.name + suffix_of(layer, direction), std::move(parameter));
      }
    }
  }
  Engine::Impl& engine = engine_.impl();
  const auto draw = [&](Parameter& parameter, float low, float high) {
    random_into(engine.executor, buffer_of(parameter.value), RandomKind::uniform, low, high,
                engine.next_random());
  };
  for (const auto& [name, parameter] : parameters_) {
    if (cell == UnitCell::sru && name.starts_with("bias")) {
      parameter->value = filled(engine_, parameter->value.shape(), 0);
    } else if (cell == UnitCell::sru && name.starts_with("weight_ih")) {
      const auto inputs = static_cast<float>(parameter->value.shape()[1]);
      draw(*parameter, -std::sqrt(3 / inputs), std::sqrt(3 / inputs));
    } else if (name.starts_with("weight_hh")) {
      draw(*parameter, cell == UnitCell::ind_rnn_relu ? 0.0F : -1.0F, 1);
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
  if (is_unit_cell(cell_)) return forward_units(input, state, saved);
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
  const Shape c_shape = state_shape(call.shape, traits_of(call.shape.cell).states * hidden_size_);
  if (state.h) check_shape(function, "state.h", state.h, engine_, h_shape);
  if (state.c && !call.has_c()) refuse(function, "state.c", "none", "a tensor");
  if (state.c) check_shape(function, "state.c", state.c, engine_, c_shape);

  RecurrentOutput out = recurrent_forward(engine_.impl().executor, call, buffer_of(state.h),
                                          buffer_of(state.c), saved != nullptr);
  const auto& engine = engine_.shared();
  const Shape y_shape = {shape[0], shape[1], call.shape.directions * call.shape.out()};
  if (saved != nullptr) {
    saved->impl_.reset(new Saved::Impl{std::move(call),
                                       out.workspace,
                                       shape,
                                       static_cast<bool>(state.h),
                                       static_cast<bool>(state.c),
                                       UnitStack{},
                                       {},
                                       UnitSaved{}});
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
  if (is_unit_cell(cell_)) return backward_units(saved, doutput, dstate, input_gradient);
  const RecurrentCall& call = saved.impl_->call;
  const RnnShape& s = call.shape;
  const Shape h_shape = state_shape(s, s.out());
  const Shape c_shape = state_shape(s, traits_of(s.cell).states * hidden_size_);
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

Recurrent::Output Recurrent::forward_units(const Tensor& input, const RecurrentState& state,
                                           Saved* saved) const {
  const std::string function = std::string(name_) + ".forward";
  const Shape& shape = input.shape();
  const UnitStack stack = {
      unit_cell(cell_), options_.num_layers, options_.bidirectional ? 2 : 1, shape[0], shape[1],
      input_size_,      hidden_size_};
  const Shape h_shape = {stack.stacks(), stack.batch, hidden_size_};
  if (state.h) check_shape(function, "state.h", state.h, engine_, h_shape);
  if (state.c) refuse(function, "state.c", "none", "a tensor");
  std::vector<Buffer> weights;
  size_t at = 0;
  for (int64_t i = 0; i < stack.stacks(); ++i) {
    for (const UnitWeight& weight : unit_weights(stack.cell, stack.input, hidden_size_)) {
      const bool there = options_.bias || !weight.bias;
      weights.push_back(there ? buffer_of(parameters_[at++].second->value) : Buffer{});
    }
  }
  UnitSaved units;
  const UnitOutput out =
      unit_forward(engine_.impl(), stack, weights, buffer_of(input), buffer_of(state.h),
                   options_.dropout, saved != nullptr ? &units : nullptr);
  if (saved != nullptr) {
    saved->impl_.reset(new Saved::Impl{{},
                                       {},
                                       shape,
                                       static_cast<bool>(state.h),
                                       false,
                                       stack,
                                       std::move(weights),
                                       std::move(units)});
  }
  const auto& engine = engine_.shared();
  return {wrap(engine, out.y, {shape[0], shape[1], stack.directions * hidden_size_}),
          {wrap(engine, out.hn, h_shape), Tensor()}};
}

Recurrent::Gradients Recurrent::backward_units(Saved& saved, const Tensor& doutput,
                                               const RecurrentState& dstate, bool input_gradient) {
  const std::string function = std::string(name_) + ".backward";
  const Saved::Impl& kept = *saved.impl_;
  const UnitStack& stack = kept.stack;
  const Shape h_shape = {stack.stacks(), stack.batch, hidden_size_};
  const Shape y_shape = {stack.steps, stack.batch, stack.directions * hidden_size_};
  if (doutput) check_shape(function, "doutput", doutput, engine_, y_shape);
  if (dstate.h) check_shape(function, "dstate.h", dstate.h, engine_, h_shape);
  if (dstate.c) refuse(function, "dstate.c", "none", "a tensor");
  const UnitGradients gradients =
      unit_backward(engine_.impl(), stack, kept.weights, kept.units, buffer_of(doutput),
                    buffer_of(dstate.h), input_gradient, kept.h0);
  size_t at = 0;
  for (size_t i = 0; i < kept.weights.size(); ++i) {
    if (kept.weights[i]) add_gradient(engine_, *parameters_[at++].second, gradients.weights[i]);
  }
  const auto& engine = engine_.shared();
  Gradients result = {wrap_if(engine, gradients.dx, kept.input_shape),
                      {wrap_if(engine, gradients.dh0, h_shape), Tensor()}};
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

LayerNormLSTM::LayerNormLSTM(const Engine& engine, int64_t input_size, int64_t hidden_size,
                             const RecurrentOptions& options, int64_t proj_size)
    : Recurrent(engine, "LayerNormLSTM", static_cast<int>(CellKind::layer_norm_lstm), input_size,
                hidden_size, options, proj_size) {}

SLSTM::SLSTM(const Engine& engine, int64_t input_size, int64_t hidden_size,
             const RecurrentOptions& options)
    : Recurrent(engine, "SLSTM", static_cast<int>(CellKind::slstm), input_size, hidden_size,
                options, 0) {}

IndRNN::IndRNN(const Engine& engine, int64_t input_size, int64_t hidden_size,
               const RecurrentOptions& options, RNN::Nonlinearity nonlinearity)
    : Recurrent(engine, "IndRNN",
                number_of(nonlinearity == RNN::Nonlinearity::relu ? UnitCell::ind_rnn_relu
                                                                  : UnitCell::ind_rnn_tanh),
                input_size, hidden_size, options, 0) {}

SRU::SRU(const Engine& engine, int64_t input_size, int64_t hidden_size,
         const RecurrentOptions& options)
    : Recurrent(engine, "SRU", number_of(UnitCell::sru), input_size, hidden_size, options, 0) {}

MinGRU::MinGRU(const Engine& engine, int64_t input_size, int64_t hidden_size,
               const RecurrentOptions& options)
    : Recurrent(engine, "MinGRU", number_of(UnitCell::min_gru), input_size, hidden_size, options,
                0) {}

MinLSTM::MinLSTM(const Engine& engine, int64_t input_size, int64_t hidden_size,
                 const RecurrentOptions& options)
    : Recurrent(engine, "MinLSTM", number_of(UnitCell::min_lstm), input_size, hidden_size, options,
                0) {}

}  // namespace fused_rnn
