// What the kernels of recurrent layers share: the arguments of a step, dropout, biases. For .cu
// files.
#pragma once

#include "cells/cells.h"
#include "core/random.h"
#include "cuda/elements.h"
#include "cuda/rnn/loop.h"

namespace fused_rnn::cuda {

// The gate of the recurrent product that is added to block `block`, or -1.
template <class Cell>
constexpr int hidden_gate(int block) {
  int gate = -1;
  each_run<Cell>([&](const HiddenRun& run, bool) {
    if (block >= run.block && block < run.block + run.count) gate = run.gate + block - run.block;
  });
  return gate;
}
template <class Cell, int block>
inline constexpr int kHiddenGate = hidden_gate<Cell>(block);

// All rows of the steps [begin, end).
inline Step rows_of(const StepPlan& plan, int64_t begin, int64_t end) {
  const Step first = plan[begin], last = plan[end - 1];
  const int64_t row = std::min(first.row, last.row);
  return {row, std::max(first.row + first.active, last.row + last.active) - row};
}

// What RnnStepOptions makes of a step's states. The pointers are to the step's first row.
struct StepStates {
  bool any = false;
  const uint8_t *mask = nullptr, *keep_h = nullptr, *keep_c = nullptr;
  float part_h = 0, part_c = 0;
  const float* h_factor = nullptr;
  // Forward: of the rows of the next step. Backward: of this step's.
  const uint8_t* reset = nullptr;
  // Backward: of the rows of the step after this one in the direction of travel.
  const uint8_t* reset_after = nullptr;

  StepStates() = default;
  StepStates(const RnnStepOptions& o, int64_t row, int64_t out, int64_t hidden)
      : any(o.any()),
        mask(o.mask != nullptr ? o.mask + row : nullptr),
        keep_h(o.keep_h != nullptr ? o.keep_h + row * out : nullptr),
        keep_c(o.keep_c != nullptr ? o.keep_c + row * hidden : nullptr),
        part_h(o.part_h),
        part_c(o.part_c),
        h_factor(o.h_factor) {}
  // For the cells under a projection, whose h is no state yet.
  void only_c() {
    keep_h = nullptr;
    part_h = 0;
    h_factor = nullptr;
    stays_h = false;
  }

  __device__ float h(int64_t r, int64_t at, float now, float old) const {
    return blend(stays_h && stays(r), keep_h, part_h, at, now, old);
  }
  __device__ float c(int64_t r, int64_t at, float now, float old) const {
    return blend(stays(r), keep_c, part_c, at, now, old);
  }
  // How much of a gradient goes past the cell, to the old state.
  __device__ float past_h(int64_t r, int64_t at, float gradient) const {
    return past(stays_h && stays(r), keep_h, part_h, at, gradient);
  }
  __device__ float past_c(int64_t r, int64_t at, float gradient) const {
    return past(stays(r), keep_c, part_c, at, gradient);
  }
  __device__ bool resets(int64_t r) const { return reset != nullptr && reset[r] != 0; }
  // The gradient of h(t), from what came past the cell of step t+1 and through its gates.
  __device__ float from_after(int64_t r, int64_t at, float carried, float product) const {
    if (reset_after != nullptr && reset_after[r] != 0) return 0;
    return carried + (h_factor != nullptr ? product * h_factor[at] : product);
  }

  bool stays_h = true;

 private:
  __device__ bool stays(int64_t r) const { return mask != nullptr && mask[r] == 0; }
  __device__ static float blend(bool stays, const uint8_t* keep, float part, int64_t at, float now,
                                float old) {
    if (stays || (keep != nullptr && keep[at] != 0)) return old;
    return part > 0 ? now + part * (old - now) : now;
  }
  __device__ static float past(bool stays, const uint8_t* keep, float part, int64_t at,
                               float gradient) {
    return stays || (keep != nullptr && keep[at] != 0) ? gradient : part * gradient;
  }
};

inline const uint8_t* rows_from(const uint8_t* all, int64_t row) {
  return all != nullptr ? all + row : nullptr;
}

// Forward, of one step. The pointers are to the step's first row. G gates, B blocks, H units.
struct ForwardStep {
  int64_t rows;      // that take part
  int64_t going_on;  // how many of them have a next step
  int64_t hidden;
  const float* bias;     // [B*H] or null
  StepInput input;       // W_ih x, [rows, G*H] with strides of its own
  const float* product;  // [rows, G*H]: h(t-1) W_hh^T
  float* gates;          // [rows, B*H], or null when the activations are not wanted
  const float* h_prev;   // [rows, H]: h(t-1), cells that use it past the gates
  const float* c_prev;   // [rows, H]: c(t-1), cells that have one
  float* h;              // [rows, H], h_ld apart: h(t), before a projection
  int64_t h_ld;
  float *h_next, *h_end;  // [rows, H]: where h goes besides, with a next step and without; or null
  float *c_next, *c_end;  // [rows, H]: and c
  UnitWeights unit_weights;
  float* h_in_next;   // [rows, H]: with h_factor, h for the next step's product; or null
  const float* h_in;  // [rows, H], cells with a second product: what comes of h(t-1) there
  float* reset_h;     // [rows, H]: and what that multiplies
  StepStates states;

  // Puts h(t) of an element of row r where it goes besides, with options.
  __device__ void hand_on_h(int64_t r, int64_t at, float h) const {
    if (h_next == nullptr) return;
    if (r >= going_on) {
      h_end[at] = h;
      return;
    }
    const float next = states.resets(r) ? 0.0f : h;
    h_next[at] = next;
    if (h_in_next != nullptr) h_in_next[at] = next * states.h_factor[at];
  }
  __device__ void hand_on_c(int64_t r, int64_t at, float c) const {
    if (r >= going_on) {
      c_end[at] = c;
    } else {
      c_next[at] = states.resets(r) ? 0.0f : c;
    }
  }
};

// Backward, of one step. The pointers are to the step's first row.
struct BackwardStep {
  int64_t rows;              // that take part
  int64_t dh_rows, dc_rows;  // how many have a gradient in dh, dc; the others begin with dhn, dcn
  int64_t hidden;
  float* gates;         // [rows, B*H]: activations, then gradients of the pre-activations
  const float* h_prev;  // [rows, H]: h(t-1), cells that use it past the gates
  const float* c_prev;  // [rows, H]: c(t-1), cells that have one
  const float* dy;      // [rows, H], dy_ld apart, or null for zeros
  int64_t dy_ld;
  const float *dhn, *dcn;  // [rows, H] or null for zeros
  float* dh;  // [rows, H]: dh(t), without dy; then what of dh(t-1) does not go through the gates
  float* dc;  // [rows, H]: dc(t), then dc(t-1)
  UnitWeights unit_weights;
  float* unit_sums;      // [rows, kUnitWeights, H]
  const float* d_reset;  // [rows, H], cells with a second product: of what it multiplied
  const float* product;  // [rows, H], with options: what the gates of step t+1 send; or null
  StepStates states;
};

// Of a unit's h(t).
__device__ inline float gradient_of_h(const BackwardStep& a, int64_t r, int64_t unit) {
  const int64_t at = r * a.hidden + unit;
  float dh = a.dy != nullptr ? a.dy[r * a.dy_ld + unit] : 0.0f;
  if (r >= a.dh_rows) {
    if (a.dhn != nullptr) dh += a.dhn[at];
  } else if (a.product != nullptr) {
    dh += a.states.from_after(r, at, a.dh[at], a.product[at]);
  } else {
    dh += a.dh[at];
  }
  return dh;
}

// What dropout multiplies a layer's output, or its gradient, by. Element i is kept or not by number
// i % 4 of the random block i / 4, as on the CPU.
struct DropoutFactors {
  float p, scale;
  const uint64_t* random;
  uint64_t base;

  DropoutFactors() = default;
  explicit DropoutFactors(const Feed& feed)
      : p(feed.p),
        scale(feed.p < 1 ? 1 / (1 - feed.p) : 0.0f),
        random(feed.random),
        base(static_cast<uint64_t>(feed.layer) << 40) {}
  __device__ RandomBlock block(int64_t number) const {
    return philox(random[0], random[1], base + static_cast<uint64_t>(number));
  }
  __device__ float factor(uint32_t bits) const { return uniform(bits) >= p ? scale : 0.0f; }
  __device__ float of(int64_t i) const {
    const RandomBlock bits = block(i / 4);
    float factor_of[4];
#pragma unroll
    for (int k = 0; k < 4; ++k) factor_of[k] = factor(bits.x[k]);
    const auto k = static_cast<int>(i % 4);
    return k < 2 ? (k == 0 ? factor_of[0] : factor_of[1]) : (k == 2 ? factor_of[2] : factor_of[3]);
  }
};

// Threads of a kernel over the units of some rows: units along x, rows along y.
struct StepGrid {
  dim3 grid, block;
  StepGrid(int64_t rows, int64_t units) {
    constexpr unsigned kThreads = 128;
    unsigned width = kWarp;
    while (width < kThreads && width < units) width *= 2;
    const unsigned height = kThreads / width;
    block = dim3(width, height);
    grid = dim3(static_cast<unsigned>((units + width - 1) / width),
                static_cast<unsigned>(std::min<int64_t>((rows + height - 1) / height, 65535)));
  }
};
constexpr int kStepThreads = 128;

// f(i) for all i below n, on a stream of its own.
template <class F>
void each_on(cudaStream_t stream, int64_t n, F f) {
  launch(each_kernel<F>, blocks_for(n), dim3(kBlock), 0, stream, f, n);
}

// to = from's columns, or zeros.
struct CopyColumns {
  float* to;          // [rows, width]
  const float* from;  // [rows, width], from_ld apart, or null
  int64_t from_ld, width;
  bool small;
  __device__ void operator()(int64_t i) const {
    const Divided row = divide(i, width, small);
    to[i] = from != nullptr ? from[row.quotient * from_ld + row.rest] : 0.0f;
  }
};

// The biases by block of the gate matrix: those of both products where they meet.
struct BlockBiases {
  const float *b_ih, *b_hh;  // [G*H]
  float* out;                // [B*H]
  int64_t input_begin, input_end;
  HiddenRun runs[2];
  int64_t hidden;
  __device__ void operator()(int64_t i) const {
    float sum = i >= input_begin && i < input_end ? b_ih[i - input_begin] : 0.0f;
    for (const HiddenRun& run : runs) {
      const int64_t at = i - run.block * hidden;
      if (at >= 0 && at < run.count * hidden) sum += b_hh[run.gate * hidden + at];
    }
    out[i] = sum;
  }
};

template <class Cell>
void block_biases(CudaDevice& device, const RnnShape& s, const RnnWeights& w, float* out) {
  const int64_t h = s.hidden;
  BlockBiases biases{.b_ih = w.b_ih,
                     .b_hh = w.b_hh,
                     .out = out,
                     .input_begin = Cell::kInputBlock * h,
                     .input_end = (Cell::kInputBlock + Cell::kGates) * h,
                     .runs = {},
                     .hidden = h};
  size_t count = 0;
  if (w.b_hh == nullptr) return each(device, Cell::kBlocks * h, biases);
  each_run<Cell>([&](const HiddenRun& run, bool) { biases.runs[count++] = run; });
  each(device, Cell::kBlocks * h, biases);
}

}  // namespace fused_rnn::cuda
