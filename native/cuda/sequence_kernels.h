// What the kernels of recurrent layers share. For .cu files.
#pragma once

#include "cells/cells.h"
#include "cuda/elements.h"
#include "cuda/sequence.h"

namespace fused_rnn::cuda {

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

}  // namespace fused_rnn::cuda
