// Arguments of sums over all paths through a sequence: connectionist temporal classification and
// linear-chain conditional random fields. The conventions of ops.h hold.
//
// Both save the forward pass's logarithms row by row. Each row is relative to the largest value of
// the row before, so that they stay small however long the sequence is. The backward pass walks
// from the end: the probability of each state, given all, times that of each way into it.
#pragma once

#include <cstdint>

#include "core/random.h"  // FUSED_RNN_HD

namespace fused_rnn {

// ---- Connectionist temporal classification (Graves et al. 2006) -------------------------------

struct CtcShape {
  int64_t steps, batch, classes;
  int64_t width;  // targets are [batch, width]; -1: the sequences' own one after the other
  int64_t total;  // elements of targets
  int64_t blank;
  bool zero_infinity;  // a target that no path has costs 0 instead of infinity

  // Floats of a row of alpha for a target of n labels: blanks [n + 1], -infinity, labels [n].
  FUSED_RNN_HD static constexpr int64_t row(int64_t n) { return 2 * n + 2; }
  int64_t alpha_floats() const { return steps * 2 * (total + batch); }
};
// Throws when a length is not in its range, or a target is no class or the blank.
struct CtcForwardArgs {
  CtcShape shape;
  const float* log_probs;         // [steps, batch, classes]
  const int32_t* targets;         // [batch, width] or [total]
  const int32_t* input_lengths;   // [batch]
  const int32_t* target_lengths;  // [batch]
  float* loss;                    // [batch]: minus the logarithm of the targets' probability
  float* alpha;                   // [alpha_floats()] for backward, or null
};
// As in PyTorch, the gradient is that with respect to what logSoftmax made log_probs of: log_probs
// are taken as normalised, and going back through logSoftmax changes nothing.
struct CtcBackwardArgs {
  CtcShape shape;
  const float* log_probs;         // [steps, batch, classes]
  const int32_t* targets;         // [batch, width] or [total]
  const int32_t* input_lengths;   // [batch]
  const int32_t* target_lengths;  // [batch]
  const float* alpha;             // [alpha_floats()]
  const float* dloss;             // [batch]
  float* dlog_probs;              // [steps, batch, classes]
};

// ---- Linear-chain conditional random field (Lafferty et al. 2001) -----------------------------

struct CrfShape {
  int64_t steps, batch, tags;
  int64_t step_stride, batch_stride;  // of [steps, batch] arrays, in rows
};
struct CrfWeights {
  const float* start;        // [tags]
  const float* end;          // [tags]
  const float* transitions;  // [tags, tags]: from, to
};
// Throws unless the mask of every sequence is ones, at least one, followed by zeros, and its tags
// are in range.
struct CrfForwardArgs {
  CrfShape shape;
  CrfWeights weights;
  const float* emissions;  // [steps, batch, tags] by the strides
  const int32_t* path;     // [steps, batch] by the strides: the tags whose likelihood it is
  const int32_t* mask;     // [steps, batch] by the strides, or null: ones
  float* likelihood;       // [batch], its logarithm
  int32_t* lengths;        // [batch], of the mask's ones
  float* alpha;            // [batch, steps, tags] for backward, or null
};
struct CrfBackwardArgs {
  CrfShape shape;
  CrfWeights weights;
  const float* emissions;
  const int32_t* path;
  const int32_t* lengths;    // [batch]
  const float* alpha;        // [batch, steps, tags]
  const float* dlikelihood;  // [batch]
  float* demissions;         // [steps, batch, tags] by the strides
  float* dstart;             // [tags]
  float* dend;               // [tags]
  float* dtransitions;       // [tags, tags]
};
// The most likely tags of each sequence (Viterbi); of equal ones the first. -1 after its end.
struct CrfDecodeArgs {
  CrfShape shape;
  CrfWeights weights;
  const float* emissions;
  const int32_t* mask;  // or null
  int32_t* path;        // [steps, batch] by the strides
};

}  // namespace fused_rnn
