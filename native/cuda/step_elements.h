// What a step does to one unit of one row, forward and backward: the part that a kernel for one
// step and a kernel that stays for all of them have in common. For .cu files.
#pragma once

#include <utility>

#include "cells/cells.h"
#include "cuda/arrivals.h"
#include "cuda/sequence.h"

namespace fused_rnn::cuda {

// ---- Forward ------------------------------------------------------------------------------------

// The gate of the recurrent product that is added to block `block`, or -1.
template <class Cell>
constexpr int hidden_gate(int block) {
  for (const HiddenRun& run : Cell::kHiddenRuns) {
    if (block >= run.block && block < run.block + run.count) return run.gate + block - run.block;
  }
  return -1;
}
template <class Cell, int block>
inline constexpr int kHiddenGate = hidden_gate<Cell>(block);

// The pointers are to the step's first row.
struct ForwardStep {
  int64_t rows;
  int64_t going_on;  // so many have a next step
  int64_t hidden;
  const float* bias;  // [B*H] or null
  StepInput input;
  float* gates;         // [rows, B*H], or null when the activations are not wanted
  const float* h_prev;  // [rows, H], cells that use it
  const float* c_prev;  // [rows, H]
  float* h;             // [rows, H], h_ld apart
  int64_t h_ld;
  float *h_next, *h_end;  // [rows, H]: where h goes besides, with a next step and without; or null
  float *c_next, *c_end;  // [rows, H]: and c
};

// A unit of a row before its recurrent product is added.
template <class Cell>
struct ForwardElement {
  float s[Cell::kBlocks];
  float h_prev, c_prev;
  float h;
};

template <class Cell, int... block>
__device__ inline void start_blocks(const ForwardStep& a, const float* input, int64_t unit,
                                    float (&s)[Cell::kBlocks],
                                    std::integer_sequence<int, block...>) {
  const auto start = [&](auto index) {
    constexpr int kBlock = decltype(index)::value;
    s[kBlock] = a.bias != nullptr ? a.bias[kBlock * a.hidden + unit] : 0.0f;
    if constexpr (kBlock >= Cell::kInputBlock) {
      s[kBlock] += input[((kBlock - Cell::kInputBlock) * a.hidden + unit) * a.input.unit_stride];
    }
  };
  (start(std::integral_constant<int, block>{}), ...);
}

template <class Cell>
__device__ inline ForwardElement<Cell> start_element(const ForwardStep& a, int64_t r,
                                                     int64_t unit) {
  int64_t from = r;
  if (a.input.index != nullptr) {
    // What is out of range has been reported by the operation that checked the indices.
    from = a.input.index[r];
    if (from < 0 || from >= a.input.classes) from = 0;
  }
  ForwardElement<Cell> e;
  start_blocks<Cell>(a, a.input.values + from * a.input.row_stride, unit, e.s,
                     std::make_integer_sequence<int, Cell::kBlocks>{});
  const int64_t at = r * a.hidden + unit;
  e.h_prev = Cell::kDirectH ? a.h_prev[at] : 0.0f;
  e.c_prev = Cell::kHasC ? a.c_prev[at] : 0.0f;
  return e;
}

template <class Cell, class Product, int... block>
__device__ inline void add_products(ForwardElement<Cell>& e, Product product,
                                    std::integer_sequence<int, block...>) {
  const auto add = [&](auto index) {
    constexpr int kGate = kHiddenGate<Cell, decltype(index)::value>;
    if constexpr (kGate >= 0) e.s[decltype(index)::value] += product(kGate);
  };
  (add(std::integral_constant<int, block>{}), ...);
}

// Computes the cell and stores the new states where the next step wants them. product(gate): the
// recurrent product for that gate of the unit.
template <class Cell, class Product>
__device__ inline void advance_element(const ForwardStep& a, int64_t r, int64_t unit,
                                       ForwardElement<Cell>& e, Product product) {
  add_products<Cell>(e, product, std::make_integer_sequence<int, Cell::kBlocks>{});
  float c = 0;
  Cell::forward(e.s, e.h_prev, e.c_prev, e.h, c);
  const int64_t at = r * a.hidden + unit;
  const bool goes_on = r < a.going_on;
  if (a.h_next != nullptr) announce((goes_on ? a.h_next : a.h_end) + at, e.h);
  if (Cell::kHasC) (goes_on ? a.c_next : a.c_end)[at] = c;
}

// And what the step itself gives.
template <class Cell>
__device__ inline void store_element(const ForwardStep& a, int64_t r, int64_t unit,
                                     const ForwardElement<Cell>& e) {
  a.h[r * a.h_ld + unit] = e.h;
  if (a.gates == nullptr) return;
  float* gates = a.gates + r * Cell::kBlocks * a.hidden + unit;
  for (int b = 0; b < Cell::kBlocks; ++b) gates[b * a.hidden] = e.s[b];
}

// ---- Backward -----------------------------------------------------------------------------------

// The pointers are to the step's first row.
struct BackwardStep {
  int64_t rows;
  int64_t dh_rows, dc_rows;  // so many have a gradient in dh, dc; the others begin with dhn, dcn
  int64_t hidden;
  float* gates;         // [rows, B*H]: activations, then gradients of the pre-activations
  const float* h_prev;  // [rows, H], cells that use it
  const float* c_prev;  // [rows, H]
  const float* dy;      // [rows, H], dy_ld apart, or null for zeros
  int64_t dy_ld;
  const float *dhn, *dcn;  // [rows, H] or null for zeros
  float* dh;  // [rows, H]: of h(t); then what of h(t-1)'s does not go through the gates
  float* dc;  // [rows, H]: of c(t), then of c(t-1)
};

// A unit of a row before the gradient that comes from the next step is added.
template <class Cell>
struct BackwardElement {
  float s[Cell::kBlocks];
  float dh;  // what comes from outside
  float h_prev, c_prev;
};

template <class Cell>
__device__ inline BackwardElement<Cell> start_element(const BackwardStep& a, int64_t r,
                                                      int64_t unit) {
  const int64_t at = r * a.hidden + unit;
  const float* gates = a.gates + r * Cell::kBlocks * a.hidden + unit;
  BackwardElement<Cell> e;
  for (int b = 0; b < Cell::kBlocks; ++b) e.s[b] = gates[b * a.hidden];
  e.dh = a.dy != nullptr ? a.dy[r * a.dy_ld + unit] : 0.0f;
  if (r >= a.dh_rows && a.dhn != nullptr) e.dh += a.dhn[at];
  e.h_prev = Cell::kDirectH ? a.h_prev[at] : 0.0f;
  e.c_prev = Cell::kHasC ? a.c_prev[at] : 0.0f;
  return e;
}

// `dh`: what comes from the next step, for rows below dh_rows. Leaves the gradients of the
// pre-activations in e.s.
template <class Cell>
__device__ inline void finish_element(const BackwardStep& a, int64_t r, int64_t unit,
                                      BackwardElement<Cell>& e, float dh) {
  const int64_t at = r * a.hidden + unit;
  float dc = 0, dh_prev = 0, dc_prev = 0;
  if (Cell::kHasC) {
    if (r < a.dc_rows) {
      dc = a.dc[at];
    } else if (a.dcn != nullptr) {
      dc = a.dcn[at];
    }
  }
  Cell::backward(e.s, e.h_prev, e.c_prev, e.dh + dh, dc, dh_prev, dc_prev);
  float* gates = a.gates + r * Cell::kBlocks * a.hidden + unit;
  for (int b = 0; b < Cell::kBlocks; ++b) gates[b * a.hidden] = e.s[b];
  if (Cell::kDirectH) a.dh[at] = dh_prev;
  if (Cell::kHasC) a.dc[at] = dc_prev;
}

}  // namespace fused_rnn::cuda
