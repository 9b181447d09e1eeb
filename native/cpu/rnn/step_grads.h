// The gradients of a small layer's weights, biases and input, added up within the time loop while a
// step's gates are in the cache: with few units and many sequences the gate matrix is most of what
// a layer reads, and one product each over all steps would read it again.
//   R rows of a step   I inputs   G gates   B blocks of the gate matrix   H units   P: H or
//   proj_size
#pragma once

#include <algorithm>

#include "cells/cells.h"
#include "cpu/rnn/threads.h"
#include "cpu/rnn/workspace.h"
#include "cpu/tile.h"
#include "cpu/transpose.h"
#include "cpu/vector.h"

FUSED_RNN_KERNELS_BEGIN

template <class Cell>
class StepGrads {
 public:
  // Sequences that go through all steps together.
  static constexpr int64_t kRows = 64;
  // Steps after which their sums are added to those of all, in double precision: a bias has one
  // term for each row of each step.
  static constexpr int64_t kSteps = 16;

  // With two directions, both would add to dx.
  static bool worth_it(const RnnShape& s, int64_t inputs, const RnnGrid& grid) {
    constexpr int64_t kWeightBytes = int64_t{128} << 10;  // beside which the rows fit the cache
    constexpr int64_t kFewestRows = 32;                   // sums are read and written for each step
    const int64_t bytes =
        Cell::kGates * s.hidden * (s.out() + inputs) * static_cast<int64_t>(sizeof(float));
    return !Cell::kNorms && !Cell::kResetBefore && s.proj == 0 && s.directions == 1 &&
           grid.threads == 1 && bytes <= kWeightBytes &&
           s.rows / s.steps / grid.slices >= kFewestRows;
  }

  // dx: [rows, I] or null.
  StepGrads(const RnnShape& s, const RnnWeights& w, const RnnWeightGrads& grads, const RnnInput& x,
            int64_t inputs, float* dx, int slices, Context& context)
      : s_(s),
        grads_(grads),
        x_(x),
        inputs_(inputs),
        dx_(dx),
        slices_(slices),
        sums_(slices * floats()),
        totals_(2 * slices * floats()),
        packed_(dx != nullptr ? Panels{Cell::kGates * s.hidden, inputs}.floats() : 1) {
    copy_or_zero(sums_.data(), nullptr, slices * floats());
    std::fill_n(totals(0), slices * floats(), 0.0);
    if (dx == nullptr) return;
    w_ih_ = {Cell::kGates * s.hidden, inputs, best_vectors(inputs, kRows), packed_.data()};
    pack_panels(w_ih_, Trans::no, w.w_ih, inputs, packed_.data(), context);
  }

  // Room for what a slice packs.
  int64_t scratch_floats() const { return kRows * round_up(std::max(inputs_, s_.hidden), kLanes); }

  // Of `rows` rows from `row` on, whose gates' gradients are in `dgates`.
  void add(int slice, int64_t row, int64_t rows, const float* dgates, const float* h_in,
           float* scratch) const {
    const int64_t h = s_.hidden, width = gate_row(Cell::kBlocks, h);
    const float* dgates_x = dgates + Cell::kInputBlock * h;
    float* sums = sums_.data() + slice * floats();
    if (grads_.dw_hh != nullptr) {
      const Panels panels = pack(rows, h, h_in + row * h, scratch);
      for (const HiddenRun& run : Cell::kHiddenRuns) {
        multiply(panels, run.count * h, dgates + run.block * h, width, sums + run.gate * h * h);
      }
    }
    if (grads_.dw_ih != nullptr) {
      float* sum = sums + input_sums();
      if (x_.index != nullptr) {
        for (int64_t r = 0; r < rows; ++r) {
          add_row(sum + x_.index[row + r] * gate_columns(), dgates_x + r * width, gate_columns());
        }
      } else {
        const Panels panels = pack(rows, inputs_, x_.values + row * inputs_, scratch);
        multiply(panels, gate_columns(), dgates_x, width, sum);
      }
    }
    if (grads_.db_ih != nullptr || grads_.db_hh != nullptr) {
      add_columns(sums + bias_sums(), dgates, rows, Cell::kBlocks * h, width);
    }
    // dx may be what this layer's dy was (a middle layer's): its rows have been read in this step.
    if (dx_ == nullptr) return;
    for (int64_t panel = 0; panel < w_ih_.count(); ++panel) {
      multiply_panel(w_ih_, panel, rows, {dgates_x, width},
                     dx_ + row * inputs_ + panel * w_ih_.width(), inputs_, nullptr, 0);
    }
  }

  // What a slice has added up since the last time goes to its totals.
  void flush(int slice) const {
    float* sums = sums_.data() + slice * floats();
    double* to = totals(slice);
    for (int64_t i = 0; i < floats(); ++i) {
      to[i] += sums[i];
      sums[i] = 0;
    }
  }

  // Adds up what the slices have.
  void finish() const {
    const int64_t h = s_.hidden;
    Scratch total(floats());
    for (int64_t i = 0; i < floats(); ++i) {
      double sum = 0;
      for (int slice = 0; slice < slices_; ++slice) sum += totals(slice)[i];
      total.data()[i] = static_cast<float>(sum);
    }
    if (grads_.dw_hh != nullptr) copy_floats(grads_.dw_hh, total.data(), gate_columns() * h);
    if (grads_.dw_ih != nullptr) {
      const float* sum = total.data() + input_sums();
      if (x_.index != nullptr) {
        transpose(sum, inputs_, gate_columns(), gate_columns(), grads_.dw_ih, inputs_);
      } else {
        copy_floats(grads_.dw_ih, sum, gate_columns() * inputs_);
      }
    }
    const float* bias = total.data() + bias_sums();
    if (grads_.db_ih != nullptr) {
      copy_floats(grads_.db_ih, bias + Cell::kInputBlock * h, gate_columns());
    }
    if (grads_.db_hh == nullptr) return;
    for (const HiddenRun& run : Cell::kHiddenRuns) {
      copy_floats(grads_.db_hh + run.gate * h, bias + run.block * h, run.count * h);
    }
  }

 private:
  // A slice's sums: of dw_hh [G*H, H], of dw_ih [G*H, I], or [I, G*H] for one-hot input, and of the
  // gate matrix's columns [B*H].
  int64_t gate_columns() const { return Cell::kGates * s_.hidden; }
  int64_t input_sums() const { return gate_columns() * s_.hidden; }
  int64_t bias_sums() const { return input_sums() + gate_columns() * inputs_; }
  double* totals(int slice) const {
    return reinterpret_cast<double*>(totals_.data()) + slice * floats();
  }
  int64_t floats() const { return round_up(bias_sums() + Cell::kBlocks * s_.hidden, 16); }

  static void add_row(float* sum, const float* row, int64_t n) {
    for (int64_t j = 0; j < n; ++j) sum[j] += row[j];
  }

  static void add_columns(float* sum, const float* x, int64_t rows, int64_t n, int64_t ld) {
    each_vector(n, [&](int64_t j, auto read, auto write) {
      Vec step{};
      for (int64_t r = 0; r < rows; ++r) step += read(x + r * ld + j);
      write(sum + j, read(sum + j) + step);
    });
  }

  Panels pack(int64_t rows, int64_t columns, const float* from, float* scratch) const {
    const Panels panels{rows, columns, best_vectors(columns, gate_columns()), scratch};
    pack_panels(panels, Trans::no, from, columns, scratch, 0, panels.count());
    return panels;
  }

  // sum[m, panels.n] += the transpose of dgates' first m columns * panels
  static void multiply(const Panels& panels, int64_t m, const float* dgates, int64_t width,
                       float* sum) {
    for (int64_t panel = 0; panel < panels.count(); ++panel) {
      float* c = sum + panel * panels.width();
      multiply_panel(panels, panel, m, {dgates, width, true}, c, panels.n, c, panels.n);
    }
  }

  const RnnShape& s_;
  const RnnWeightGrads& grads_;
  const RnnInput x_;
  const int64_t inputs_;
  float* const dx_;
  const int slices_;
  Scratch sums_, totals_, packed_;
  Panels w_ih_;
};

FUSED_RNN_KERNELS_END
