// A recurrent call on the GPU: its workspace, the rows of its steps, and the arguments of a layer's
// time loop. Used by both passes.
//
// N sequences, H units, P outputs (H, or the projection's), D directions; rows: one for each
// sequence of each step of the packed input. G gates, B blocks of a row of the gate matrix
// (cells/cell.h).
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "cells/unit_weights.h"
#include "cuda/device/device.h"
#include "cuda/device/graphs.h"
#include "ops/rnn_workspace.h"

namespace fused_rnn::cuda {

// Floats that rnn_forward saves for rnn_backward.
int64_t rnn_workspace_floats(const RnnShape& shape);

// ---- The workspace ------------------------------------------------------------------------------

struct CudaLayout {
  static int64_t gate_row(int64_t blocks, int64_t hidden) { return blocks * hidden; }
  // Products are fastest on arrays that begin at a multiple of 128 bytes.
  static int64_t array(int64_t floats) { return (floats + 31) / 32 * 32; }
};
using RnnWorkspace = RnnWorkspaceOf<CudaLayout>;
using StackSaved = RnnStackSaved;

// ---- The steps ----------------------------------------------------------------------------------

// A step: its first row, and how many sequences take part: [0, active).
struct Step {
  int64_t row;
  int64_t active;
};

// The steps in the order of the forward pass, of the reverse direction from the last one on. Steps
// without any sequence are left out.
class StepPlan {
 public:
  StepPlan(const RnnShape& s, bool reverse) {
    int64_t row = 0;
    for (int64_t t = 0; t < s.steps && s.batch_sizes[t] > 0; ++t) {
      steps_.push_back({row, s.batch_sizes[t]});
      row += s.batch_sizes[t];
    }
    if (reverse) std::reverse(steps_.begin(), steps_.end());
  }
  int64_t count() const { return static_cast<int64_t>(steps_.size()); }
  // Beyond both ends: no sequence.
  Step operator[](int64_t i) const {
    return i < 0 || i >= count() ? Step{0, 0} : steps_[static_cast<size_t>(i)];
  }

 private:
  std::vector<Step> steps_;
};

// ---- The time loops -----------------------------------------------------------------------------

// Where the input product of a row comes from.
struct StepInput {
  const float* values;  // element j of row r: values[r * row_stride + j * unit_stride]
  int64_t row_stride;
  int64_t unit_stride;
  const int32_t* index;  // [rows] or null: element j of row index[r] instead
  int64_t classes;       // limit of the indices
};

// What cells with layer norms need besides.
struct NormLoop {
  const float* g_hh;  // [G*H]
  const float* g_ih;  // [G*H]
  const float* g_c;   // [H]
  const float* b_c;   // [H] or null
  // Backward only:
  const float* bias = nullptr;  // as ForwardLoop's
  float* scratch = nullptr;     // [N, (G + 1) * H]
  float* grads = nullptr;       // [N, norm_grads(G) * H], of gains and shifts, added up over time
};
// Blocks of [H]: the shifts of both products, their gains, c's shift and gain.
FUSED_RNN_HD constexpr int norm_grads(int gates) { return 3 * gates + 2; }

// The forward loop of one layer and direction; all arrays are in device memory.
struct ForwardLoop {
  const RnnShape& shape;
  const StepPlan& plan;
  const void* name;   // tells this loop from others of its shape
  const float* w_hh;  // [G*H, P]
  const float* w_hr;  // [P, H] or null
  const float* bias;  // [B*H], by block, or null
  StepInput input;
  StackSaved saved;
  bool keep;        // whether the activations are wanted later
  const float* h0;  // [N, P] or null
  const float* c0;  // [N, H] or null
  float* y;         // this direction's columns of [rows, D*P]
  float* hn;        // [N, P]
  float* cn;        // [N, H]
  float* product;   // [N, G*H]: one step's h(t-1) W_hh^T
  NormLoop norms;
  UnitWeights unit_weights;
  RnnStepOptions options;  // of this layer and direction
};

// The backward loop of one layer and direction; all arrays are in device memory.
struct BackwardLoop {
  const RnnShape& shape;
  const StepPlan& plan;  // as forward went
  const void* name;      // tells this loop from others of its shape
  const float* w_hh;     // [G*H, P], its gates in the order of the gate matrix's blocks
  const float* w_hr;     // [P, H] or null
  StackSaved saved;
  const float* dy;   // this direction's columns of [rows, D*P], or null
  const float* dhn;  // [N, P] or null
  const float* dcn;  // [N, H] or null
  float* dh;         // [N, P]: dh(t-1) from step to step; in the end dh0
  float* dc;         // [N, H]: dc(t-1), likewise
  float* dh_total;   // [rows, P], with projection: the gradient of every h, for dw_hr
  float* du;         // [N, H], with projection: the gradient of one step's h before it; with a
                     // second product: of what that multiplies
  bool needs_dh0;
  NormLoop norms;
  UnitWeights unit_weights;
  float* unit_sums;        // [N, kUnitWeights, H]: their gradients, added up over time
  RnnStepOptions options;  // of this layer and direction
  float* product;          // [N, P], with options: what one step's gates send to h(t-1)
};

// Where one loop is queued: a stream, its cuBLAS handle, the precision of products.
struct LaunchStream {
  cudaStream_t stream;
  Blas& blas;
  Fp32Precision precision;
};

// Queues the steps [begin, end) of a loop, in the order of its pass.
void queue_steps(const ForwardLoop& loop, int64_t begin, int64_t end, const LaunchStream& on,
                 Context& context);
void queue_steps(const BackwardLoop& loop, int64_t begin, int64_t end, const LaunchStream& on,
                 Context& context);
// Puts the initial states where the steps [begin, end) read them, of the sequences that begin
// there.
void queue_starts(const ForwardLoop& loop, int64_t begin, int64_t end, const LaunchStream& on);

// What leads from one layer's loops to those of the layer that runs next: forward the input
// products, with dropout on their input; backward the products that give dy, with dropout behind
// them.
struct Feed {
  Product products[2];  // of all rows; `count` of them
  int count;
  float* dropped;  // [rows, width], or null without dropout
  int64_t width;
  bool backward;
  float p;
  int64_t layer;           // whose output is dropped
  const uint64_t* random;  // seed and counter, in device memory: graphs outlast them
};
// Queues it for some of the rows.
void queue_feed(const Feed& feed, int64_t row, int64_t rows, const LaunchStream& on);

// Adds to a graph's key all that the queued work depends on.
void describe(const ForwardLoop& loop, GraphKey& key);
void describe(const BackwardLoop& loop, GraphKey& key);
void describe(const Feed& feed, GraphKey& key);

// Seed and counter of a call's dropout in device memory; null without dropout.
class RandomState {
 public:
  RandomState(CudaDevice& device, const RnnShape& s, const RnnDropout& dropout);
  const uint64_t* data() const { return reinterpret_cast<const uint64_t*>(memory_.data()); }

 private:
  DeviceScratch memory_;
};

// ---- How the loops are run: schedule.cpp ------------------------------------------------------

// On the main stream.
LaunchStream main_stream(CudaDevice& device);

// Runs the loops of a layer's directions, which do not depend on each other.
void run_layer_loop(const std::vector<ForwardLoop>& directions, Context& context);
void run_layer_loop(const std::vector<BackwardLoop>& directions, Context& context);

enum class Pass { forward, backward };

// Whether the layers of a call run side by side: as a wavefront, or chunk by chunk.
bool layers_overlap(const RnnShape& s, Pass pass, CudaDevice& device);
// Runs the loops of all layers, in the order of the pass, each fed by the one before it (feeds[0]
// is not used).
void run_layers(const std::vector<ForwardLoop>& layers, const std::vector<Feed>& feeds,
                Context& context);
void run_layers(const std::vector<BackwardLoop>& layers, const std::vector<Feed>& feeds,
                Context& context);

// ---- Pieces -------------------------------------------------------------------------------------

// out[c, r] = in[r, c], on the main stream; ld_in elements from row to row of `in`.
void transpose(CudaDevice& device, const float* in, int64_t rows, int64_t columns, int64_t ld_in,
               float* out);

}  // namespace fused_rnn::cuda
