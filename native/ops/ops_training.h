// Arguments of random numbers, losses, clipping and optimisers. The conventions of ops.h hold.
#pragma once

#include <cstdint>

namespace fused_rnn {

// ---- Random numbers: element i is a function of (seed, counter, i) alone ----------------------

// uniform: in [a, b). normal: mean a, standard deviation b. integer: int32_t, low + a whole number
// in [0, range), range at most 2^32. boolean: uint8_t, 1 with probability a, else 0.
enum class RandomKind : int32_t { uniform, normal, integer, boolean };
struct RandomArgs {
  RandomKind kind;
  float* out;  // [n]
  int64_t n;
  float a;
  float b;
  uint64_t seed;
  uint64_t counter;
  int64_t low = 0, range = 0;
};

// out = kept ? in / (1 - p) : 0, each element dropped with probability p. Its own backward, with
// gradients in place of values. p = 1 gives zeros.
struct DropoutArgs {
  float* out;       // [n]
  const float* in;  // [n]
  int64_t n;
  float p;
  uint64_t seed;
  uint64_t counter;
};

// One class per row with probability softmax(logits / temperature), among the top_k largest logits
// (0: all); temperature 0 takes the largest. Of equal logits the first counts as the largest.
// Throws when a row has a NaN or its largest logit is infinite.
struct SampleArgs {
  int32_t* out;         // [n]
  const float* logits;  // [n, classes]
  int64_t n;
  int64_t classes;
  float temperature;
  int64_t top_k;
  uint64_t seed;
  uint64_t counter;
};

// out[i, indices[i]] = 1, else 0. Throws when an index is not in [0, classes).
struct OneHotArgs {
  float* out;              // [n, classes], or null to check the indices only
  const int32_t* indices;  // [n]
  int64_t n;
  int64_t classes;
};

// ---- Losses -----------------------------------------------------------------------------------

enum class Reduction : int32_t { none, mean, sum };

// Rows with target == ignore_index count nothing. The mean is over the others, by the weights of
// their targets, NaN over none.
struct CrossEntropyShape {
  int64_t n;
  int64_t classes;
  int64_t ignore_index;
  float label_smoothing;   // weight of the uniform distribution over classes in the target
  bool log_probabilities;  // logits are log probabilities already: the negative log likelihood
  Reduction reduction;
};
// Throws when a target is neither ignore_index nor in [0, classes).
struct CrossEntropyForwardArgs {
  CrossEntropyShape shape;
  const float* logits;            // [n, classes]
  const int32_t* target;          // [n]
  float* loss;                    // [n] or [1]
  float* lse;                     // [n], log of the sum of exponentials, for backward
  const float* weight = nullptr;  // [classes], or null: ones
};
struct CrossEntropyBackwardArgs {
  CrossEntropyShape shape;
  const float* logits;    // [n, classes]
  const int32_t* target;  // [n]
  const float* lse;       // [n]
  const float* dloss;     // [n] or [1]
  float* dlogits;         // [n, classes]
  const float* weight = nullptr;
};

// The formulas are in pair_losses.h.
enum class PairLoss : int32_t {
  mse,
  bce_logits,
  l1,
  smooth_l1,
  huber,
  bce,
  kl_div,
  kl_div_log,
  poisson,
  poisson_log,
  pinball
};
// Thrown by bce.
constexpr const char* kNoProbability = "input: expected probabilities, in [0, 1]";
struct PairLossForwardArgs {
  PairLoss kind;
  Reduction reduction;
  int64_t n;
  const float* x;           // [n]
  const float* t;           // [n]
  const float* weight;      // [n] or null for ones
  const float* pos_weight;  // [n] or null for ones
  float* loss;              // [n] or [1]
  float option = 0;         // beta, delta, eps
};
struct PairLossBackwardArgs {
  PairLoss kind;
  Reduction reduction;
  int64_t n;
  const float* x;           // [n]
  const float* t;           // [n]
  const float* weight;      // [n] or null
  const float* pos_weight;  // [n] or null
  const float* dloss;       // [n] or [1]
  float* dx;                // [n] or null
  float* dt;                // [n] or null
  float option = 0;
};

// ---- Clipping and optimisers: every parameter in one pass -------------------------------------

// The norm of all gradients as if they were one vector; for -infinity the smallest magnitude.
struct GradNormArgs {
  int64_t count;
  const float* const* grads;  // [count] of [sizes[i]]
  const int64_t* sizes;       // [count]
  double p;                   // of the p-norm: 2, +-infinity, or any other but 0
  float* norm;                // [1]
};

// Throws when some tensor has an element that is not finite; the message (core/failure.h) names the
// first such tensor, by its place, and the caller's own number. The first tensor, a loss, may be
// the mean over nothing (core/empty_mean.h).
struct CheckFiniteArgs {
  int64_t count;
  const float* const* tensors;  // [count] of [sizes[i]]
  const int64_t* sizes;         // [count]
  int64_t number;
};

// g is first scaled by min(1, max_norm / (norm + 1e-6)), then clamped to [-max_value, max_value].
struct Clip {
  const float* norm;  // [1] or null: no scaling, unless own_norm
  bool own_norm;  // norm is null; the 2-norm of the gradients that the operation gets takes part
  float max_norm;
  float max_value;  // infinity: no clamping
};

struct ClipGradsArgs {
  int64_t count;
  float* const* grads;   // [count] of [sizes[i]], changed in place
  const int64_t* sizes;  // [count]
  Clip clip;
};

struct SgdTensor {
  int64_t n;
  float* param;       // [n]
  const float* grad;  // [n]
  float* buffer;      // [n] momentum buffer, or null without momentum
  bool first;         // the buffer begins as the gradient
};
struct SgdArgs {
  int64_t count;
  const SgdTensor* tensors;  // [count]
  Clip clip;
  float lr;
  float momentum;
  float dampening;
  float weight_decay;
  bool nesterov;
  bool maximize;
};

struct AdamTensor {
  int64_t n;
  float* param;       // [n]
  const float* grad;  // [n]
  float* m;           // [n] running mean of gradients
  float* v;           // [n] running mean of their squares
  float* v_max;       // [n] largest v so far (amsgrad), or null
  float step_size;    // lr / (1 - beta1^t)
  float v_scale;      // 1 / sqrt(1 - beta2^t)
};
struct AdamArgs {
  int64_t count;
  const AdamTensor* tensors;  // [count]
  Clip clip;
  float one_minus_beta1;
  float beta2;
  float one_minus_beta2;
  float eps;
  float weight_decay;  // added to the gradient (Adam)
  float shrink;        // the parameter is first multiplied by this (AdamW: 1 - lr * weight decay)
  bool maximize;
};

// The other optimisers; update_rules.h has their formulas.
enum class UpdateRule : int32_t {
  rmsprop,
  rmsprop_momentum,
  rmsprop_centered,
  rmsprop_centered_momentum,
  adagrad,
  adadelta,
  adamax,
  nadam,
  radam,
  asgd,
  rprop,
  sgd,
  sparse_adam
};
struct UpdateRuleInfo {
  const char* name;
  int states;  // numbers that it keeps of each element
};
constexpr UpdateRuleInfo kUpdateRules[] = {
    {"RMSprop", 1},  {"RMSprop", 2}, {"RMSprop", 2},   {"RMSprop", 3}, {"Adagrad", 1},
    {"Adadelta", 2}, {"Adamax", 2},  {"NAdam", 2},     {"RAdam", 2},   {"ASGD", 1},
    {"Rprop", 2},    {"SGD", 0},     {"SparseAdam", 2}};
constexpr int kUpdateRuleCount = sizeof kUpdateRules / sizeof *kUpdateRules;
constexpr int states_of(UpdateRule rule) { return kUpdateRules[static_cast<int>(rule)].states; }
constexpr int kMostUpdateStates = 3;
constexpr int kMostUpdateNumbers = 3;
constexpr int kUpdateOptions = 5;

struct UpdateTensor {
  int64_t n;
  float* param;                       // [n]
  const float* grad;                  // [n]
  float* state[kMostUpdateStates];    // [n] each, null beyond those of the rule
  float numbers[kMostUpdateNumbers];  // a rule's t: what depends on the number of steps
  // Where the gradient is of some rows of the parameter alone: which row each of its rows is of.
  // Then param and state are [height, width], and grad is [n / width, width]. No row is there twice;
  // one outside [0, height) is passed over.
  const int32_t* rows = nullptr;  // [n / width]
  int64_t width = 0, height = 0;
};
struct UpdateArgs {
  int64_t count;
  const UpdateTensor* tensors;  // [count]; all or none with rows
  Clip clip;
  UpdateRule rule;
  float options[kUpdateOptions];  // a rule's c
  float weight_decay;             // added to the gradient
  float shrink;                   // the parameter is first multiplied by this
  bool maximize;
};

}  // namespace fused_rnn
