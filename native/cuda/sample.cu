// One class per row, drawn from the softmax of its logits.
#include <math.h>

#include "cells/math.h"
#include "core/random.h"
#include "cuda/ops.h"
#include "cuda/reduce.h"

namespace fused_rnn::cuda {
namespace {

constexpr int kThreads = 512;
constexpr int kWarps = kThreads / kWarp;
constexpr unsigned kAll = 0xffffffffu;

enum RowStatus : int32_t { kGood, kNaN, kInfinite };

// What the threads of a block share while they work on a row.
struct Shared {
  float* floats;      // [kWarp]
  double* doubles;    // [kWarp]
  int64_t* integers;  // [kWarp]
  unsigned* bins;     // [256]
  int64_t* found;     // [2]
};

__device__ int lane() { return static_cast<int>(threadIdx.x) % kWarp; }
__device__ int warp() { return static_cast<int>(threadIdx.x) / kWarp; }

// The classes of a row in order are cut into a segment for each warp.
struct Segments {
  int64_t classes;
  __device__ int64_t begin(int w) const { return classes * w / kWarps; }
  __device__ int64_t end(int w) const { return classes * (w + 1) / kWarps; }
};

// An unsigned number in the order of the floats.
__device__ uint32_t ordered(float x) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

// The k largest: those above `key`, and those before `end` that equal it.
struct Cut {
  uint32_t key;
  int64_t end;
  __device__ bool keeps(float x, int64_t c) const {
    const uint32_t bits = ordered(x);
    return bits > key || (bits == key && c < end);
  }
};

// By one warp: from the top, the bin in which the k-th falls, and how many of it are wanted.
__device__ void find_bin(const unsigned* bins, int64_t k, int64_t* found) {
  constexpr int kEach = 256 / kWarp;
  const int top = 255 - lane() * kEach;
  int64_t own = 0;
  for (int j = 0; j < kEach; ++j) own += bins[top - j];
  int64_t to = own;  // up to and with this lane's bins
  for (int offset = 1; offset < kWarp; offset *= 2) {
    const int64_t before = __shfl_up_sync(kAll, to, offset);
    if (lane() >= offset) to += before;
  }
  const unsigned reached = __ballot_sync(kAll, to >= k);
  if (lane() != __ffs(reached) - 1) return;
  int64_t rest = k - (to - own);
  int bin = top;
  for (; bin > top - kEach + 1 && static_cast<int64_t>(bins[bin]) < rest; --bin) rest -= bins[bin];
  found[0] = bin;
  found[1] = rest;
}

// The position behind the `ties`-th element that equals `key`.
__device__ int64_t end_of_ties(const float* row, Segments segments, uint32_t key, int64_t ties,
                               Shared s) {
  const int w = warp();
  int64_t equal = 0;
  for (int64_t c = segments.begin(w) + lane(); c < segments.end(w); c += kWarp) {
    equal += ordered(row[c]) == key;
  }
  equal = warp_reduce(equal, reduce::Plus{});
  if (lane() == 0) s.integers[w] = equal;
  __syncthreads();
  int64_t before = 0;
  for (int other = 0; other < w; ++other) before += s.integers[other];
  if (before < ties && ties <= before + equal) {  // in this warp's segment
    for (int64_t from = segments.begin(w); before < ties; from += kWarp) {
      const int64_t c = from + lane();
      const bool same = c < segments.end(w) && ordered(row[c]) == key;
      const unsigned votes = __ballot_sync(kAll, same);
      const int64_t rank = before + __popc(votes & ((2u << lane()) - 1));
      if (same && rank == ties) s.found[0] = c + 1;
      before += __popc(votes);
    }
  }
  __syncthreads();
  const int64_t end = s.found[0];
  __syncthreads();
  return end;
}

// Finds the key of the k-th largest, eight bits at a time from the top.
__device__ Cut cut_at(const float* row, int64_t classes, int64_t k, Shared s) {
  uint32_t key = 0;
  for (int shift = 24; shift >= 0; shift -= 8) {
    const uint32_t mask = shift == 24 ? 0 : ~0u << (shift + 8);
    for (int bin = threadIdx.x; bin < 256; bin += kThreads) s.bins[bin] = 0;
    __syncthreads();
    for (int64_t c = threadIdx.x; c < classes; c += kThreads) {
      const uint32_t x = ordered(row[c]);
      if ((x & mask) == key) atomicAdd(&s.bins[(x >> shift) & 255], 1u);
    }
    __syncthreads();
    if (warp() == 0) find_bin(s.bins, k, s.found);
    __syncthreads();
    key |= static_cast<uint32_t>(s.found[0]) << shift;
    k = s.found[1];
    __syncthreads();
  }
  return {key, end_of_ties(row, {classes}, key, k, s)};
}

// The class at which the sum of the weights from the first on exceeds u of all; `best` when
// rounding leaves nothing.
template <class Weight>
__device__ int64_t choose(int64_t classes, Weight weight, double u, int64_t best, Shared s) {
  const Segments segments{classes};
  const int w = warp();
  double own = 0;
  for (int64_t c = segments.begin(w) + lane(); c < segments.end(w); c += kWarp) own += weight(c);
  own = warp_reduce(own, reduce::Plus{});
  if (lane() == 0) s.doubles[w] = own;
  if (threadIdx.x == 0) s.found[0] = best;
  __syncthreads();
  double total = 0;
  for (int other = 0; other < kWarps; ++other) total += s.doubles[other];
  double rest = total * u;
  int segment = 0;
  for (; segment < kWarps && rest >= s.doubles[segment]; ++segment) rest -= s.doubles[segment];
  if (w == segment) {
    for (int64_t from = segments.begin(w); from < segments.end(w); from += kWarp) {
      const int64_t c = from + lane();
      double to = c < segments.end(w) ? weight(c) : 0;  // up to and with this lane's class
      for (int offset = 1; offset < kWarp; offset *= 2) {
        const double before = __shfl_up_sync(kAll, to, offset);
        if (lane() >= offset) to += before;
      }
      const unsigned beyond = __ballot_sync(kAll, rest - to < 0);
      if (beyond != 0) {
        if (lane() == 0) s.found[0] = from + __ffs(beyond) - 1;
        break;
      }
      rest -= __shfl_sync(kAll, to, kWarp - 1);
    }
  }
  __syncthreads();
  const int64_t chosen = s.found[0];
  __syncthreads();
  return chosen;
}

struct Weight {
  const float* row;
  float max, temperature;
  bool cut;
  Cut at;
  __device__ double operator()(int64_t c) const {
    if (cut && !at.keeps(row[c], c)) return 0;
    return exp_((row[c] - max) / temperature);
  }
};

// A block for each row. status [n]
__global__ void __launch_bounds__(kThreads) sample_kernel(SampleArgs args, int32_t* status) {
  FUSED_RNN_SHARED(float, floats, kWarp);
  FUSED_RNN_SHARED(double, doubles, kWarp);
  FUSED_RNN_SHARED(int64_t, integers, kWarp);
  FUSED_RNN_SHARED(unsigned, bins, 256);
  FUSED_RNN_SHARED(int64_t, found, 2);
  const Shared s{floats, doubles, integers, bins, found};
  const int64_t classes = args.classes;
  for (int64_t i = blockIdx.x; i < args.n; i += gridDim.x) {
    const float* row = args.logits + i * classes;
    float max = kMinusInfinity;
    int64_t best = classes, numbers = 1;
    for (int64_t c = threadIdx.x; c < classes; c += kThreads) {
      if (row[c] != row[c]) numbers = 0;
      if (row[c] > max || best == classes) {
        max = row[c];
        best = c;
      }
    }
    numbers = block_reduce(numbers, 1, integers, reduce::Smaller{});
    const float own = best == classes ? kMinusInfinity : max;
    max = block_reduce(own, kMinusInfinity, floats, reduce::Larger{});
    best = block_reduce(best < classes && own == max ? best : classes, classes, integers,
                        reduce::Smaller{});
    const RowStatus row_status = numbers == 0 ? kNaN : max - max != 0 ? kInfinite : kGood;
    if (threadIdx.x == 0) status[i] = row_status;
    if (row_status != kGood) continue;
    int64_t chosen = best;
    if (args.temperature != 0 && args.top_k != 1) {
      Weight weight{row, max, args.temperature, args.top_k > 0 && args.top_k < classes, {}};
      if (weight.cut) weight.at = cut_at(row, classes, args.top_k, s);
      const RandomBlock block = philox(args.seed, args.counter, static_cast<uint64_t>(i));
      const uint64_t bits = (uint64_t{block.x[0]} << 21) ^ (block.x[1] >> 11);
      chosen = choose(classes, weight, static_cast<double>(bits) * 0x1p-53, best, s);
    }
    if (threadIdx.x == 0) args.out[i] = static_cast<int32_t>(chosen);
  }
}

// One block: reports the first row that is not good.
__global__ void __launch_bounds__(kBlock)
    status_kernel(const int32_t* status, int64_t n, FaultSite nan, FaultSite infinite) {
  FUSED_RNN_SHARED(int64_t, scratch, kWarp);
  int64_t bad = n;
  for (int64_t i = threadIdx.x; i < n; i += blockDim.x) {
    if (status[i] != kGood && i < bad) bad = i;
  }
  bad = block_reduce(bad, n, scratch, reduce::Smaller{});
  if (threadIdx.x == 0 && bad < n) report_fault(status[bad] == kNaN ? nan : infinite, bad, 0, 0);
}

}  // namespace

void sample(const SampleArgs& args, Context& context) {
  CudaDevice& device = device_of(context);
  if (args.n == 0) return;
  DeviceScratch status(device, args.n);
  auto* rows = reinterpret_cast<int32_t*>(status.data());
  launch(sample_kernel, dim3(static_cast<unsigned>(std::min<int64_t>(args.n, 1 << 16))),
         dim3(kThreads), 0, device.stream(), args, rows);
  launch(status_kernel, dim3(1), dim3(kBlock), 0, device.stream(), rows, args.n,
         device.text_site("sample", "logits: expected numbers, got NaN"),
         device.text_site("sample", "logits: expected a finite largest logit in every row"));
}

}  // namespace fused_rnn::cuda
