// Running results along the middle dimension, of anything that combines associatively. For .cu files.
#pragma once

#include "cuda/device/device.h"
#include "cuda/elements.h"

namespace fused_rnn::cuda {

constexpr int kScanItems = 4;                        // neighbours of one thread
constexpr int64_t kScanChunk = kBlock * kScanItems;  // of one block at a time
constexpr int64_t kScanPart = 16 * kScanChunk;       // of one block
constexpr int kScanWarps = kBlock / kWarp;

// A Kind has a State of doubles or integers (`kNumbers` of them, as an array), start(), load(at,
// first) of element `at` of the whole array (`first`: the first one of its run), combine(before,
// after) and store(at, state).

template <class State>
__device__ State shuffle_up(State state, int offset) {
  for (auto& number : state.x) number = __shfl_up_sync(0xffffffffu, number, offset);
  return state;
}

// What comes before thread's own in the block, and the whole block's in `total`. `sums`: shared.
template <class Kind>
__device__ typename Kind::State before_thread(const Kind& kind, typename Kind::State own,
                                              typename Kind::State* sums,
                                              typename Kind::State* total) {
  using State = typename Kind::State;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  State to = own;  // up to and with this lane
  for (int offset = 1; offset < kWarp; offset *= 2) {
    const State before = shuffle_up(to, offset);
    if (lane >= offset) to = kind.combine(before, to);
  }
  if (lane == kWarp - 1) sums[warp] = to;
  const State before_lane = shuffle_up(to, 1);
  __syncthreads();
  State all = kind.start(), before = all;
  for (int w = 0; w < kScanWarps; ++w) {
    if (w == warp) before = all;
    all = kind.combine(all, sums[w]);
  }
  __syncthreads();
  *total = all;
  return lane == 0 ? before : kind.combine(before, before_lane);
}

// A block for each part of each row of neighbours. Without `carry`, the parts' totals alone.
template <class Kind>
__global__ void __launch_bounds__(kBlock)
    scan_rows_kernel(Kind kind, int64_t rows, int64_t n, int64_t parts, bool reverse, bool write,
                     const typename Kind::State* carry, typename Kind::State* totals) {
  using State = typename Kind::State;
  FUSED_RNN_SHARED(State, sums, kScanWarps);
  for (int64_t block = blockIdx.x; block < rows * parts; block += gridDim.x) {
    const int64_t row = block / parts, begin = block % parts * kScanPart;
    const int64_t end = min(n, begin + kScanPart);
    State state = carry == nullptr ? kind.start() : carry[block];
    for (int64_t from = begin; from < end; from += kScanChunk) {
      State own[kScanItems];
      State all = kind.start();
      const int64_t first = from + threadIdx.x * kScanItems;
      const auto place = [&](int64_t i) { return row * n + (reverse ? n - 1 - i : i); };
      for (int k = 0; k < kScanItems; ++k) {
        own[k] = first + k < end ? kind.load(place(first + k), first + k == 0) : kind.start();
        all = kind.combine(all, own[k]);
      }
      State total;
      State before = kind.combine(state, before_thread(kind, all, sums, &total));
      state = kind.combine(state, total);
      for (int k = 0; write && k < kScanItems; ++k) {
        before = kind.combine(before, own[k]);
        if (first + k < end) kind.store(place(first + k), before);
      }
    }
    if (totals != nullptr && threadIdx.x == 0) totals[block] = state;
  }
}

// Each part's carry from the totals, in place.
template <class Kind>
struct Carry {
  Kind kind;
  typename Kind::State* totals;
  int64_t parts;
  __device__ void operator()(int64_t row) const {
    auto state = kind.start();
    for (int64_t part = 0; part < parts; ++part) {
      const auto total = totals[row * parts + part];
      totals[row * parts + part] = state;
      state = kind.combine(state, total);
    }
  }
};

// A thread for each column.
template <class Kind>
struct ScanColumn {
  Kind kind;
  int64_t n, inner;
  bool reverse;
  __device__ void operator()(int64_t column) const {
    const int64_t o = column / inner, c = column % inner;
    auto state = kind.start();
    for (int64_t i = 0; i < n; ++i) {
      const int64_t at = (o * n + (reverse ? n - 1 - i : i)) * inner + c;
      state = kind.combine(state, kind.load(at, i == 0));
      kind.store(at, state);
    }
  }
};

template <class Kind>
void scan_all(CudaDevice& device, const Kind& kind, int64_t outer, int64_t n, int64_t inner,
              bool reverse) {
  using State = typename Kind::State;
  if (outer * n * inner == 0) return;
  if (inner > 1) {
    return each(device, outer * inner, ScanColumn<Kind>{kind, n, inner, reverse});
  }
  const int64_t parts = (n + kScanPart - 1) / kScanPart;
  const dim3 grid(static_cast<unsigned>(std::min<int64_t>(outer * parts, 1 << 16)));
  const auto pass = [&](bool write, const State* carry, State* totals) {
    launch(scan_rows_kernel<Kind>, grid, dim3(kBlock), 0, device.stream(), kind, outer, n, parts,
           reverse, write, carry, totals);
  };
  if (parts == 1) return pass(true, nullptr, nullptr);
  DeviceScratch scratch(device, outer * parts * static_cast<int64_t>(sizeof(State)) / 4);
  auto* totals = reinterpret_cast<State*>(scratch.data());
  pass(false, nullptr, totals);
  each(device, outer, Carry<Kind>{kind, totals, parts});
  pass(true, totals, nullptr);
}

}  // namespace fused_rnn::cuda
