// The steps of cells with layer norms (Cell::kNorms, cells/layer_norm_lstm.h). A norm needs the
// mean and the variance over all units of a row before any unit can go on, so a block has a whole
// row. For .cu files.
//
// H units; G gates i, f, g, o; B = 2 G blocks of a row of the gate matrix: W_hh h(t-1), then W_ih
// x, both before their norms. moments: mean and 1 / deviation of both products and of c, kept for
// backward.
//
// Forward, each row (the moments of W_ih x are taken for all steps beforehand):
// (1) the moments of W_hh h(t-1), over G*H;
// (2) for each unit the pre-activations of i, f, g, o from both normalised products, and c(t);
// (3) the moments of c(t), over H;
// (4) for each unit h(t) from o and the normalised c(t).
// Backward, each row:
// (1) for each unit from dh(t) to the gradient of the normalised c(t), and its two sums over H;
// (2) for each unit dc(t), then the gradients of i, f, g, o, and their four sums over G*H;
// (3) the gradients of both products, which replace them in the gate matrix.
// The gradients of gains and shifts are added up for each sequence (norm_grads() in loop.h).
#pragma once

#include "cells/cells.h"
#include "cuda/reduce.h"
#include "cuda/rnn/step_kernels.h"

namespace fused_rnn::cuda {

inline dim3 norm_threads(int64_t units) {
  return dim3(static_cast<unsigned>(std::clamp<int64_t>((units + kWarp - 1) / kWarp, 1, 8)) *
              kWarp);
}
inline dim3 norm_rows(int64_t rows) {
  return dim3(static_cast<unsigned>(std::min<int64_t>(rows, 1 << 16)));
}

// Every thread of the block gets the sum of x over it.
__device__ inline float block_sum(float x, float* scratch) {
  return block_reduce(x, 0.0f, scratch, reduce::Plus{});
}

// The moments of n numbers read(i). The second pass reads them from the nearest cache.
template <class Read>
__device__ Moments block_moments(int64_t n, float* scratch, Read read) {
  float sum = 0, squares = 0;
  for (int64_t i = threadIdx.x; i < n; i += blockDim.x) sum += read(i);
  const float mean = block_sum(sum, scratch) / static_cast<float>(n);
  for (int64_t i = threadIdx.x; i < n; i += blockDim.x) {
    const float off = read(i) - mean;
    squares += off * off;
  }
  const float variance = block_sum(squares, scratch) / static_cast<float>(n);
  return {mean, 1.0f / sqrtf(variance + kNormEpsilon)};
}

// The row of the input product that row r of a step begins with.
__device__ inline const float* input_row(const StepInput& input, int64_t r) {
  int64_t from = r;
  if (input.index != nullptr) {
    // What is out of range has been reported by the operation that checked the indices.
    from = input.index[r];
    if (from < 0 || from >= input.classes) from = 0;
  }
  return input.values + from * input.row_stride;
}

// ---- The input, of many steps at once -----------------------------------------------------------

template <class Cell>
__global__ void __launch_bounds__(kBlock)
    input_moments_kernel(StepInput input, int64_t rows, int64_t columns, RowMoments* moments) {
  FUSED_RNN_SHARED(float, scratch, kWarp);
  for (int64_t r = blockIdx.x; r < rows; r += gridDim.x) {
    const float* row = input_row(input, r);
    const Moments m =
        block_moments(columns, scratch, [&](int64_t i) { return row[i * input.unit_stride]; });
    if (threadIdx.x == 0) moments[r].input = m;
  }
}

template <class Cell>
void queue_input_moments(const ForwardLoop& l, int64_t begin, int64_t end, cudaStream_t stream) {
  if (begin == end) return;
  const Step all = rows_of(l.plan, begin, end);
  StepInput input = l.input;
  if (input.index != nullptr) {
    input.index += all.row;
  } else {
    input.values += all.row * input.row_stride;
  }
  const int64_t columns = Cell::kGates * l.shape.hidden;
  launch(input_moments_kernel<Cell>, norm_rows(all.active), norm_threads(columns), 0, stream, input,
         all.active, columns, l.saved.moments + all.row);
}

// ---- A step -------------------------------------------------------------------------------------

// The pre-activations of a unit; hidden, input: its row's products.
template <class Cell>
__device__ void normalised(const NormLoop& n, const RowMoments& m, const float* hidden,
                           const float* input, int64_t input_stride, int64_t units, int64_t unit,
                           float (&s)[Cell::kGates]) {
  for (int g = 0; g < Cell::kGates; ++g) {
    const int64_t at = g * units + unit;
    float shift = 0;
    if (n.bias != nullptr) shift = n.bias[at] + n.bias[Cell::kInputBlock * units + at];
    s[g] = m.hidden.normalise(hidden[at]) * n.g_hh[at] +
           m.input.normalise(input[at * input_stride]) * n.g_ih[at] + shift;
  }
}

__device__ inline float shift_of_c(const NormLoop& n, int64_t unit) {
  return n.b_c != nullptr ? n.b_c[unit] : 0.0f;
}

template <class Cell>
__global__ void __launch_bounds__(kBlock)
    forward_norm_kernel(ForwardStep a, NormLoop n, RowMoments* moments) {
  FUSED_RNN_SHARED(float, scratch, kWarp);
  constexpr int G = Cell::kGates;
  const int64_t width = G * a.hidden;
  for (int64_t r = blockIdx.x; r < a.rows; r += gridDim.x) {
    const float *hidden = a.product + r * width, *input = input_row(a.input, r);
    const int64_t stride = a.input.unit_stride;
    // (1)
    RowMoments m = moments[r];
    m.hidden = block_moments(width, scratch, [&](int64_t i) { return hidden[i]; });
    float* gates = a.gates != nullptr ? a.gates + r * Cell::kBlocks * a.hidden : nullptr;
    float* c = (r < a.going_on ? a.c_next : a.c_end) + r * a.hidden;
    float* h = a.h + r * a.h_ld;
    float* h_too = r < a.going_on ? a.h_next : a.h_end;
    const bool options = a.states.any;
    // (2)
    for (int64_t unit = threadIdx.x; unit < a.hidden; unit += blockDim.x) {
      float s[G], c_new;  // i, f, g, o
      normalised<Cell>(n, m, hidden, input, stride, a.hidden, unit, s);
      Cell::gates(s, a.c_prev[r * a.hidden + unit], c_new);
      c[unit] = c_new;
      h[unit] = s[G - 1];  // o, for (4)
      if (gates == nullptr) continue;
      for (int64_t i = unit; i < width; i += a.hidden) {
        gates[i] = hidden[i];
        if (a.input.index != nullptr) gates[Cell::kInputBlock * a.hidden + i] = input[i * stride];
      }
    }
    // (3)
    m.c = block_moments(a.hidden, scratch, [&](int64_t i) { return c[i]; });
    // (4)
    for (int64_t unit = threadIdx.x; unit < a.hidden; unit += blockDim.x) {
      const float norm = m.c.normalise(c[unit]) * n.g_c[unit] + shift_of_c(n, unit);
      h[unit] = Cell::output(h[unit], norm);
      if (options) {
        const int64_t at = r * a.hidden + unit;
        if (h_too != nullptr) h[unit] = a.states.h(r, at, h[unit], a.h_prev[at]);
        a.hand_on_h(r, at, h[unit]);
        a.hand_on_c(r, at, a.states.c(r, at, c[unit], a.c_prev[at]));
        continue;
      }
      if (h_too != nullptr) h_too[r * a.hidden + unit] = h[unit];
    }
    if (threadIdx.x == 0) moments[r] = m;
  }
}

template <class Cell>
void queue_norm_step(const ForwardStep& a, NormLoop norms, RowMoments* moments,
                     cudaStream_t stream) {
  norms.bias = a.bias;
  launch(forward_norm_kernel<Cell>, norm_rows(a.rows), norm_threads(a.hidden), 0, stream, a, norms,
         moments);
}

template <class Cell>
__global__ void __launch_bounds__(kBlock)
    backward_norm_kernel(BackwardStep a, NormLoop n, const RowMoments* moments) {
  FUSED_RNN_SHARED(float, scratch, kWarp);
  constexpr int G = Cell::kGates, kGrads = norm_grads(G);
  const int64_t H = a.hidden, width = G * H;
  for (int64_t r = blockIdx.x; r < a.rows; r += gridDim.x) {
    const RowMoments m = moments[r];
    float *hidden = a.gates + r * Cell::kBlocks * H, *input = hidden + Cell::kInputBlock * H;
    const float* c_prev = a.c_prev + r * H;
    float *kept = n.scratch + r * (G + 1) * H, *dc = a.dc + r * H;
    // The first of a sequence's steps that backward comes to begins its sums.
    float* grads = n.grads + r * kGrads * H;
    const bool first = r >= a.dc_rows;
    const auto add = [&](int64_t i, float x) { grads[i] = first ? x : grads[i] + x; };

    // (1) From h to the normalised c.
    float sums[4] = {};
    for (int64_t unit = threadIdx.x; unit < H; unit += blockDim.x) {
      float dh = gradient_of_h(a, r, unit);
      if (a.states.any) {
        const float past = a.states.past_h(r, r * H + unit, dh);
        a.dh[r * H + unit] = past;
        dh -= past;
      }
      float s[G], c, dnorm;
      normalised<Cell>(n, m, hidden, input, 1, H, unit, s);
      Cell::gates(s, c_prev[unit], c);
      const float y = m.c.normalise(c), gain = n.g_c[unit];
      Cell::output_backward(s, y * gain + shift_of_c(n, unit), dh, dnorm);
      add(3 * width + unit, dnorm);
      add(3 * width + H + unit, dnorm * y);
      dnorm *= gain;
      sums[0] += dnorm;
      sums[1] += dnorm * y;
      kept[width + unit] = dnorm;
      for (int g = 0; g < G; ++g) kept[g * H + unit] = s[g];
    }
    const float units = static_cast<float>(H);
    const float mean = block_sum(sums[0], scratch) / units;
    const float mean_y = block_sum(sums[1], scratch) / units;

    // (2) From c to the pre-activations.
    for (float& sum : sums) sum = 0;
    for (int64_t unit = threadIdx.x; unit < H; unit += blockDim.x) {
      float s[G], dc_prev, dc_now = 0;
      for (int g = 0; g < G; ++g) s[g] = kept[g * H + unit];
      if (!first) {
        dc_now = dc[unit];
      } else if (a.dcn != nullptr) {
        dc_now = a.dcn[r * H + unit];
      }
      const float past_c = a.states.any ? a.states.past_c(r, r * H + unit, dc_now) : 0.0f;
      dc_now -= past_c;
      const float y = m.c.normalise(Cell::state(s, c_prev[unit]));
      dc_now += m.c.backward(kept[width + unit], y, mean, mean_y);
      Cell::gates_backward(s, c_prev[unit], dc_now, dc_prev);
      dc[unit] = a.states.any && a.states.resets(r) ? 0.0f : dc_prev + past_c;
      for (int g = 0; g < G; ++g) {
        const int64_t at = g * H + unit;
        const float h = m.hidden.normalise(hidden[at]), x = m.input.normalise(input[at]);
        add(at, s[g]);
        add(width + at, s[g] * h);
        add(2 * width + at, s[g] * x);
        kept[at] = s[g];
        const float dh = s[g] * n.g_hh[at], dx = s[g] * n.g_ih[at];
        sums[0] += dh;
        sums[1] += dh * h;
        sums[2] += dx;
        sums[3] += dx * x;
      }
    }
    float means[4];
    for (int i = 0; i < 4; ++i) means[i] = block_sum(sums[i], scratch) / (units * G);

    // (3) From the normalised products to the products.
    for (int64_t unit = threadIdx.x; unit < H; unit += blockDim.x) {
      for (int64_t at = unit; at < width; at += H) {
        const float h = m.hidden.normalise(hidden[at]), x = m.input.normalise(input[at]);
        hidden[at] = m.hidden.backward(kept[at] * n.g_hh[at], h, means[0], means[1]);
        input[at] = m.input.backward(kept[at] * n.g_ih[at], x, means[2], means[3]);
      }
    }
  }
}

template <class Cell>
void queue_norm_step(const BackwardStep& a, const NormLoop& norms, const RowMoments* moments,
                     cudaStream_t stream) {
  launch(backward_norm_kernel<Cell>, norm_rows(a.rows), norm_threads(a.hidden), 0, stream, a, norms,
         moments);
}

}  // namespace fused_rnn::cuda
