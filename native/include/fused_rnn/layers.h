// Layers, the cross entropy and SGD, under PyTorch's names, shapes, parameter names and formulas.
//
// There is no tape: forward() takes a Saved where backward() will follow, and backward() adds the
// gradients of the parameters to theirs and returns those of its inputs.
#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "fused_rnn/tensor.h"

namespace fused_rnn {

struct Parameter {
  Tensor value;
  Tensor grad;  // of value's shape; none before the first backward()
};
// By PyTorch's names, in PyTorch's order; a shared one stands there once.
using Parameters = std::vector<std::pair<std::string, std::shared_ptr<Parameter>>>;

// ---- Recurrent layers -------------------------------------------------------------------------

struct RecurrentOptions {
  int64_t num_layers = 1;
  bool bias = true;
  float dropout = 0;  // between layers, where a Saved is given
  bool bidirectional = false;
};

// h: (D * num_layers, N, P), where D is 2 if bidirectional and P is proj_size or hidden_size; of an
// SRU, whose state is not its output, the state. c: (D * num_layers, N, hidden_size), of LSTMs; of an
// SLSTM (D * num_layers, N, 3 * hidden_size), its c, n and m side by side. None stands for zeros.
struct RecurrentState {
  Tensor h, c;
};

// What recurrent layers have in common. Parameters begin uniform in +-1/sqrt(hidden_size), unless a
// layer says otherwise.
class FUSED_RNN_API Recurrent {
 public:
  struct Output {
    Tensor output;  // (T, N, D * P)
    RecurrentState state;
  };
  struct Gradients {
    Tensor input;          // (T, N, input_size), where wanted
    RecurrentState state;  // where forward() got one
  };
  // What one forward() keeps for one backward().
  class FUSED_RNN_API Saved {
   public:
    Saved();
    ~Saved();
    Saved(Saved&&) noexcept;
    Saved& operator=(Saved&&) noexcept;

   private:
    friend class Recurrent;
    struct Impl;
    std::unique_ptr<Impl> impl_;
  };

  // input: (T, N, input_size). Without `saved` nothing is kept and no dropout takes part.
  Output forward(const Tensor& input, const RecurrentState& state = {},
                 Saved* saved = nullptr) const;
  // Adds to the parameters' gradients. Gradients that are none stand for zeros. `saved` is used up.
  Gradients backward(Saved& saved, const Tensor& doutput, const RecurrentState& dstate = {},
                     bool input_gradient = true);

  const Parameters& parameters() const { return parameters_; }
  int64_t input_size() const { return input_size_; }
  int64_t hidden_size() const { return hidden_size_; }

 protected:
  Recurrent(const Engine& engine, const char* name, int cell, int64_t input_size,
            int64_t hidden_size, const RecurrentOptions& options, int64_t proj_size);

 private:
  void add_cell_parameters();
  void add_unit_parameters();
  Output forward_units(const Tensor& input, const RecurrentState& state, Saved* saved) const;
  Gradients backward_units(Saved& saved, const Tensor& doutput, const RecurrentState& dstate,
                           bool input_gradient);

  Engine engine_;
  const char* name_;
  int cell_;
  int64_t input_size_, hidden_size_, proj_size_;
  RecurrentOptions options_;
  Parameters parameters_;
};

class FUSED_RNN_API RNN : public Recurrent {
 public:
  enum class Nonlinearity { tanh, relu };
  RNN(const Engine& engine, int64_t input_size, int64_t hidden_size,
      const RecurrentOptions& options = {}, Nonlinearity nonlinearity = Nonlinearity::tanh);
};

class FUSED_RNN_API GRU : public Recurrent {
 public:
  // reset_after: whether the reset gate comes behind the recurrent product, or before it.
  GRU(const Engine& engine, int64_t input_size, int64_t hidden_size,
      const RecurrentOptions& options = {}, bool reset_after = true);
};

class FUSED_RNN_API LSTM : public Recurrent {
 public:
  // proj_size 0: no projection. peephole: whether the gates see the cell state.
  LSTM(const Engine& engine, int64_t input_size, int64_t hidden_size,
       const RecurrentOptions& options = {}, int64_t proj_size = 0, bool peephole = false);
};

// Layer norms of both products and of c (Ba, Kiros and Hinton 2016). Gains begin as 1, biases as 0.
class FUSED_RNN_API LayerNormLSTM : public Recurrent {
 public:
  LayerNormLSTM(const Engine& engine, int64_t input_size, int64_t hidden_size,
                const RecurrentOptions& options = {}, int64_t proj_size = 0);
};

// Exponential gates (Beck et al. 2024), with one head.
class FUSED_RNN_API SLSTM : public Recurrent {
 public:
  SLSTM(const Engine& engine, int64_t input_size, int64_t hidden_size,
        const RecurrentOptions& options = {});
};

// Each unit sees its own old value alone (Li et al. 2018). weight_hh begins in [0, 1) with relu, in
// [-1, 1) with tanh.
class FUSED_RNN_API IndRNN : public Recurrent {
 public:
  IndRNN(const Engine& engine, int64_t input_size, int64_t hidden_size,
         const RecurrentOptions& options = {},
         RNN::Nonlinearity nonlinearity = RNN::Nonlinearity::relu);
};

// Simple recurrent unit (Lei et al. 2018). weight_ih begins in +-sqrt(3 / inputs), biases as 0.
class FUSED_RNN_API SRU : public Recurrent {
 public:
  SRU(const Engine& engine, int64_t input_size, int64_t hidden_size,
      const RecurrentOptions& options = {});
};

// Gates that see the input alone (Feng et al. 2024).
class FUSED_RNN_API MinGRU : public Recurrent {
 public:
  MinGRU(const Engine& engine, int64_t input_size, int64_t hidden_size,
         const RecurrentOptions& options = {});
};

class FUSED_RNN_API MinLSTM : public Recurrent {
 public:
  MinLSTM(const Engine& engine, int64_t input_size, int64_t hidden_size,
          const RecurrentOptions& options = {});
};

// ---- Linear, embedding ------------------------------------------------------------------------

// x * weight^T + bias; both begin uniform in +-1/sqrt(in_features).
class FUSED_RNN_API Linear {
 public:
  Linear(const Engine& engine, int64_t in_features, int64_t out_features, bool bias = true);
  // (M, in_features) -> (M, out_features)
  Tensor forward(const Tensor& x) const;
  // x: what forward() got. -> dx, where wanted.
  Tensor backward(const Tensor& x, const Tensor& dy, bool input_gradient = true);
  const Parameters& parameters() const { return parameters_; }
  // Takes another layer's parameter, (out_features, in_features), as its own: tied weights.
  void tie_weight(std::shared_ptr<Parameter> weight);

 private:
  Engine engine_;
  int64_t in_, out_;
  Parameters parameters_;
};

// Rows of a table, which begins N(0, 1).
class FUSED_RNN_API Embedding {
 public:
  Embedding(const Engine& engine, int64_t num_embeddings, int64_t embedding_dim);
  // int32 of any shape -> (..., embedding_dim). A wrong index fails on the queue.
  Tensor forward(const Tensor& indices) const;
  // indices: what forward() got.
  void backward(const Tensor& indices, const Tensor& dy);
  const Parameters& parameters() const { return parameters_; }

 private:
  Engine engine_;
  int64_t rows_, width_;
  Parameters parameters_;
};

// ---- Loss, optimiser --------------------------------------------------------------------------

struct CrossEntropyOptions {
  int64_t ignore_index = -100;
  float label_smoothing = 0;
};

// The mean cross entropy of softmax(logits) and the target classes.
class FUSED_RNN_API CrossEntropyLoss {
 public:
  struct Saved {
    Tensor logits, target, lse;
  };
  explicit CrossEntropyLoss(const CrossEntropyOptions& options = {}) : options_(options) {}
  // logits: (N, C); target: int32 (N). -> one number, of shape ().
  Tensor forward(const Tensor& logits, const Tensor& target, Saved* saved = nullptr) const;
  // The gradient of the loss with respect to the logits. Linear::backward uses it without its being
  // written down.
  Tensor backward(const Saved& saved) const;

 private:
  CrossEntropyOptions options_;
};

struct SGDOptions {
  double lr = 1e-3;
  double momentum = 0;
  double dampening = 0;
  double weight_decay = 0;
  bool nesterov = false;
  // Clipping in the same pass: all gradients together by norm, then each element. Negative: none.
  double max_grad_norm = -1;
  double max_grad_value = std::numeric_limits<double>::infinity();
};

// As torch.optim.SGD.
class FUSED_RNN_API SGD {
 public:
  SGD(Parameters parameters, const SGDOptions& options);
  // Drops all gradients.
  void zero_grad();
  // Updates every parameter that has a gradient.
  void step();

  SGDOptions options;  // may be changed between steps

 private:
  Parameters parameters_;
  std::vector<Tensor> buffers_;  // momentum, by parameter
};

}  // namespace fused_rnn
