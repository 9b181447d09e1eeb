// Units of one row through the cell, forward and backward, as many at once as a vector holds.
#pragma once

#include "cells/cells.h"
#include "cells/unit_weights.h"
#include "cpu/vector.h"

FUSED_RNN_KERNELS_BEGIN

// `count` units of one row through the cell. All pointers are to the first of these units.
//   gates   [B, H]: a block's columns are H apart; pre-activations become what backward needs
//   h_prev  [H], cells with kDirectH    c_prev  [H], cells with c
//   h       [H], written                c       [H], written, cells with c
// unit_weights: of all units, the first of these is `unit`. Several states in c are H apart.
template <class Cell>
void cell_row(int64_t hidden, const UnitWeights& unit_weights, int64_t unit, int64_t count,
              float* gates, const float* h_prev, const float* c_prev, float* h, float* c) {
  const auto units = [&](int64_t j, auto read, auto write) {
    Vec s[Cell::kBlocks], h_new, c_new;
    for (int b = 0; b < Cell::kBlocks; ++b) s[b] = read(gates + b * hidden + j);
    const Vec h_old = Cell::kDirectH ? read(h_prev + j) : Vec{};
    if constexpr (Cell::kStates > 1) {
      Vec old[Cell::kStates], now[Cell::kStates];
      for (int k = 0; k < Cell::kStates; ++k) old[k] = read(c_prev + k * hidden + j);
      Cell::forward(s, old, h_new, now);
      for (int k = 0; k < Cell::kStates; ++k) write(c + k * hidden + j, now[k]);
    } else if constexpr (Cell::kUnitWeights > 0) {
      const Vec c_old = read(c_prev + j);
      Vec w[Cell::kUnitWeights];
      for (int k = 0; k < Cell::kUnitWeights; ++k) w[k] = read(unit_weights.of[k] + unit + j);
      Cell::forward(s, w, h_old, c_old, h_new, c_new);
    } else {
      const Vec c_old = Cell::kHasC ? read(c_prev + j) : Vec{};
      Cell::forward(s, h_old, c_old, h_new, c_new);
    }
    for (int b = 0; b < Cell::kBlocks; ++b) write(gates + b * hidden + j, s[b]);
    write(h + j, h_new);
    if (Cell::kHasC && Cell::kStates == 1) write(c + j, c_new);
  };
  each_vector(count, units);
}

// What the second product multiplies, of `count` units of one row; pointers as of cell_row.
template <class Cell>
void reset_row(int64_t hidden, int64_t count, float* gates, const float* h_prev, float* reset_h) {
  float* block = gates + Cell::kResetBlock * hidden;
  each_vector(count, [&](int64_t j, auto read, auto write) {
    Vec r = read(block + j);
    write(reset_h + j, Cell::reset(r, read(h_prev + j)));
    write(block + j, r);
  });
}

// `count` units of one row through the cell, backwards. All pointers are to the first of these
// units.
//   gates   [B, H]: what forward left
//   dgates  [B, H]: gradients of the pre-activations, written
//   h_prev  [H], cells with kDirectH
//   c_prev  [H], cells with c
//   dh      [H]: of h(t); with kDirectH it becomes the part of h(t-1)'s that goes past the gates
//   dc      [H]: of c(t), becomes c(t-1)'s
// unit_weights: of all units, the first of these is `unit`; unit_sums: their gradients, added up.
template <class Cell>
void cell_row_backward(int64_t hidden, const UnitWeights& unit_weights, float* unit_sums,
                       int64_t unit, int64_t count, const float* gates, float* dgates,
                       const float* h_prev, const float* c_prev, float* dh, float* dc) {
  const auto units = [&](int64_t j, auto read, auto write) {
    Vec s[Cell::kBlocks], dh_prev{}, dc_prev{};
    for (int b = 0; b < Cell::kBlocks; ++b) s[b] = read(gates + b * hidden + j);
    const Vec h_old = Cell::kDirectH ? read(h_prev + j) : Vec{};
    const Vec dh_new = read(dh + j);
    if constexpr (Cell::kStates > 1) {
      Vec old[Cell::kStates], d_now[Cell::kStates], d_old[Cell::kStates];
      for (int k = 0; k < Cell::kStates; ++k) {
        old[k] = read(c_prev + k * hidden + j);
        d_now[k] = read(dc + k * hidden + j);
      }
      Cell::backward(s, old, dh_new, d_now, d_old);
      for (int k = 0; k < Cell::kStates; ++k) write(dc + k * hidden + j, d_old[k]);
    } else if constexpr (Cell::kUnitWeights > 0) {
      const Vec c_old = read(c_prev + j), dc_new = read(dc + j);
      Vec w[Cell::kUnitWeights], dw[Cell::kUnitWeights];
      for (int k = 0; k < Cell::kUnitWeights; ++k) w[k] = read(unit_weights.of[k] + unit + j);
      Cell::backward(s, w, h_old, c_old, dh_new, dc_new, dh_prev, dc_prev, dw);
      for (int k = 0; k < Cell::kUnitWeights; ++k) {
        float* sum = unit_sums + k * hidden + unit + j;
        write(sum, read(sum) + dw[k]);
      }
    } else {
      const Vec c_old = Cell::kHasC ? read(c_prev + j) : Vec{};
      const Vec dc_new = Cell::kHasC ? read(dc + j) : Vec{};
      Cell::backward(s, h_old, c_old, dh_new, dc_new, dh_prev, dc_prev);
    }
    for (int b = 0; b < Cell::kBlocks; ++b) write(dgates + b * hidden + j, s[b]);
    if (Cell::kDirectH) write(dh + j, dh_prev);
    if (Cell::kHasC && Cell::kStates == 1) write(dc + j, dc_prev);
  };
  each_vector(count, units);
}

// The gate before the second product of `count` units of one row; d: [H], of what it multiplied.
// The other pointers as above.
template <class Cell>
void reset_row_backward(int64_t hidden, int64_t count, float* dgates, const float* h_prev,
                        const float* d, float* dh) {
  float* block = dgates + Cell::kResetBlock * hidden;
  each_vector(count, [&](int64_t j, auto read, auto write) {
    Vec r = read(block + j), dh_prev = read(dh + j);
    Cell::reset_backward(r, read(h_prev + j), read(d + j), dh_prev);
    write(block + j, r);
    write(dh + j, dh_prev);
  });
}

FUSED_RNN_KERNELS_END
