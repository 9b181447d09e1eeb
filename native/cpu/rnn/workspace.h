// Where a recurrent call keeps what: the workspace that forward leaves for backward, the rows of
// each step, and how the batch is shared among threads. Used by both passes.
#pragma once

#include <algorithm>
#include <cstdint>

#include "ops/ops.h"

namespace fused_rnn {

// Floats from one row of the gate matrix to the next. Rows a multiple of 1 KiB apart would share
// few places of the caches, so those get a cache line more.
constexpr int64_t gate_row(int64_t blocks, int64_t hidden) {
  const int64_t floats = blocks * hidden;
  return floats >= 512 && floats % 256 == 0 ? floats + 16 : floats;
}

constexpr int kMomentsFloats = 6;  // of a row: RowMoments in cells/norm.h

// The saved arrays of one layer and direction. Rows are those of the packed input.
struct RnnStackSaved {
  float* gates;   // [rows, B*H], gate_row() apart: pre-activations, then activations, then, but for
                  // step_grads.h's layers, their gradients
  float* h_prev;  // [rows, P]: the state each row started from
  float* c_prev;  // [rows, H], cells with a cell state
  float* u;       // [rows, H], with projection: h before it is projected
  float* moments;  // [rows, 6], cells with norms
};

class RnnWorkspace {
 public:
  template <class Cell>
  RnnWorkspace(Cell, const RnnShape& shape, float* memory = nullptr)
      : s_(shape),
        blocks_(Cell::kBlocks),
        has_c_(Cell::kHasC),
        moments_(Cell::kNorms ? kMomentsFloats : 0),
        memory_(memory) {}

  int64_t stack_floats() const {
    return s_.rows * (gate_row(blocks_, s_.hidden) + s_.out() + (has_c_ ? s_.hidden : 0) +
                      (s_.proj > 0 ? s_.hidden : 0) + moments_);
  }
  // The output of a layer below the last, after dropout: [rows, D*P].
  int64_t layer_output_floats() const { return s_.rows * s_.directions * s_.out(); }
  int64_t floats() const {
    return s_.layers * s_.directions * stack_floats() + (s_.layers - 1) * layer_output_floats();
  }

  RnnStackSaved stack(int64_t layer, int64_t direction) const {
    RnnStackSaved saved{};
    float* at = memory_ + (layer * s_.directions + direction) * stack_floats();
    saved.gates = at;
    at += s_.rows * gate_row(blocks_, s_.hidden);
    saved.h_prev = at;
    at += s_.rows * s_.out();
    if (has_c_) {
      saved.c_prev = at;
      at += s_.rows * s_.hidden;
    }
    if (s_.proj > 0) {
      saved.u = at;
      at += s_.rows * s_.hidden;
    }
    if (moments_ > 0) saved.moments = at;
    return saved;
  }
  float* layer_output(int64_t layer) const {
    return memory_ + s_.layers * s_.directions * stack_floats() + layer * layer_output_floats();
  }

 private:
  const RnnShape& s_;
  int blocks_;
  bool has_c_;
  int moments_;  // floats a row
  float* memory_;
};

// A range of sequences that one thread takes through every step.
struct BatchSlice {
  int64_t begin;
  int64_t end;

  // Of the `active` sequences of a step, how many are in this slice.
  int64_t count(int64_t active) const {
    return std::clamp<int64_t>(active - begin, 0, end - begin);
  }
};

// Slice `index` of `count`, cut so that each has about the same number of rows: with sequences of
// unequal lengths the longer ones come first.
inline BatchSlice batch_slice(const RnnShape& s, int64_t index, int64_t count) {
  // Rows of the sequences before n: sum over t of min(batch_sizes[t], n).
  const auto rows_before = [&](int64_t n) {
    int64_t rows = 0;
    for (int64_t t = 0; t < s.steps; ++t) rows += std::min<int64_t>(s.batch_sizes[t], n);
    return rows;
  };
  const auto cut = [&](int64_t i) -> int64_t {
    if (i == 0) return 0;
    if (i == count) return s.batch;
    int64_t low = 0, high = s.batch;
    while (low < high) {
      const int64_t middle = (low + high) / 2;
      if (rows_before(middle) * count < s.rows * i) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    return low;
  };
  return {cut(index), cut(index + 1)};
}

}  // namespace fused_rnn
