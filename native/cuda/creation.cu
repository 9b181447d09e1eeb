// Ranges, parts of matrices, and classes drawn from given probabilities.
#include <math.h>

#include <cstring>

#include "core/random.h"
#include "cuda/elements.h"
#include "cuda/ops.h"
#include "cuda/reduce.h"
#include "cuda/scan.h"
#include "cuda/sort.h"

namespace fused_rnn::cuda {
namespace {

template <class T>
struct Ramp {
  T* out;
  int64_t n;
  double start, step, end;
  __device__ void operator()(int64_t i) const {
    const bool front = i < (n + 1) / 2;
    out[i] = static_cast<T>(front ? start + step * static_cast<double>(i)
                                  : end - step * static_cast<double>(n - 1 - i));
  }
};

struct Band {
  const uint32_t* x;
  uint32_t* out;
  uint32_t number;
  int64_t rows, columns, low, high;
  bool small;
  __device__ void operator()(int64_t i) const {
    const Divided row = divide(i, columns, small);
    const int64_t across = row.rest - divide(row.quotient, rows, small).rest;
    const bool within = low <= across && across <= high;
    out[i] = !within ? 0 : x == nullptr ? number : x[i];
  }
};

// ---- Multinomial ------------------------------------------------------------------------------

enum RowStatus : int32_t { kGood, kBad, kFew };

// A block for each row.
__global__ void __launch_bounds__(kBlock) check_rows_kernel(MultinomialArgs args, int32_t* status) {
  FUSED_RNN_SHARED(int64_t, scratch, kWarp);
  for (int64_t row = blockIdx.x; row < args.rows; row += gridDim.x) {
    const float* p = args.p + row * args.classes;
    int64_t positive = 0, good = 1;
    for (int64_t c = threadIdx.x; c < args.classes; c += kBlock) {
      positive += p[c] > 0;
      if (!(p[c] >= 0 && p[c] - p[c] == 0)) good = 0;
    }
    positive = block_reduce(positive, 0, scratch, reduce::Plus{});
    good = block_reduce(good, 1, scratch, reduce::Smaller{});
    const bool few = positive == 0 || (!args.replacement && positive < args.samples);
    if (threadIdx.x == 0) status[row] = good == 0 ? kBad : few ? kFew : kGood;
  }
}

__global__ void __launch_bounds__(kBlock)
    report_rows_kernel(const int32_t* status, int64_t n, FaultSite bad, FaultSite few) {
  FUSED_RNN_SHARED(int64_t, scratch, kWarp);
  int64_t first = n;
  for (int64_t i = threadIdx.x; i < n; i += blockDim.x) {
    if (status[i] != kGood && i < first) first = i;
  }
  first = block_reduce(first, n, scratch, reduce::Smaller{});
  if (threadIdx.x == 0 && first < n) report_fault(status[first] == kBad ? bad : few, first, 0, 0);
}

__device__ double draw(const MultinomialArgs& args, int64_t i) {
  const RandomBlock block = philox(args.seed, args.counter, static_cast<uint64_t>(i));
  const uint64_t bits = (uint64_t{block.x[0]} << 21) ^ (block.x[1] >> 11);
  return static_cast<double>(bits) * 0x1p-53;
}

struct Accumulate {
  struct State {
    double x[1];
  };
  const float* in;
  double* out;
  __device__ State start() const { return {{0}}; }
  __device__ State load(int64_t at, bool) const { return {{static_cast<double>(in[at])}}; }
  __device__ State combine(State a, State b) const { return {{a.x[0] + b.x[0]}}; }
  __device__ void store(int64_t at, State s) const { out[at] = s.x[0]; }
};

struct Choose {
  MultinomialArgs args;
  const double* sums;  // [rows, classes]
  __device__ void operator()(int64_t i) const {
    const double* row = sums + i / args.samples * args.classes;
    const double total = row[args.classes - 1], wanted = draw(args, i) * total;
    int64_t low = 0, high = args.classes - 1;
    while (low < high) {
      const int64_t middle = (low + high) / 2;
      if (row[middle] > wanted || row[middle] >= total) {
        high = middle;
      } else {
        low = middle + 1;
      }
    }
    args.out[i] = static_cast<int32_t>(low);
  }
};

// The smallest of e / p, e exponential, come first.
struct Race {
  MultinomialArgs args;
  uint32_t* keys;
  __device__ void operator()(int64_t i) const {
    const auto e = static_cast<float>(fabs(log(1 - draw(args, i))));
    const float race = args.p[i] > 0 ? e / args.p[i] : INFINITY;
    memcpy(&keys[i], &race, sizeof race);
  }
};

struct TakeFirst {
  const int32_t* from;
  int32_t* out;
  int64_t n, k;
  __device__ void operator()(int64_t i) const { out[i] = from[i / k * n + i % k]; }
};

}  // namespace

void ramp(const RampArgs& args, Context& context) {
  CudaDevice& device = device_of(context);
  if (args.integer) {
    return each(
        device, args.n,
        Ramp<int32_t>{static_cast<int32_t*>(args.out), args.n, args.start, args.step, args.end});
  }
  each(device, args.n,
       Ramp<float>{static_cast<float*>(args.out), args.n, args.start, args.step, args.end});
}

void band(const BandArgs& args, Context& context) {
  const int64_t n = args.batch * args.rows * args.columns;
  each(device_of(context), n,
       Band{args.x, args.out, args.number, args.rows, args.columns, args.low, args.high,
            small_numbers(n)});
}

void multinomial(const MultinomialArgs& args, Context& context) {
  CudaDevice& device = device_of(context);
  if (args.rows == 0) return;
  DeviceScratch status(device, args.rows);
  auto* rows = reinterpret_cast<int32_t*>(status.data());
  launch(check_rows_kernel, dim3(static_cast<unsigned>(std::min<int64_t>(args.rows, 1 << 16))),
         dim3(kBlock), 0, device.stream(), args, rows);
  launch(report_rows_kernel, dim3(1), dim3(kBlock), 0, device.stream(), rows, args.rows,
         device.text_site("multinomial", "probabilities: expected finite numbers of at least 0"),
         device.text_site("multinomial",
                          "probabilities: expected enough numbers above 0 in every row"));
  const int64_t all = args.rows * args.classes, chosen = args.rows * args.samples;
  if (args.replacement) {
    DeviceScratch scratch(device, 2 * all);
    auto* sums = reinterpret_cast<double*>(scratch.data());
    scan_all(device, Accumulate{args.p, sums}, args.rows, args.classes, 1, false);
    return each(device, chosen, Choose{args, sums});
  }
  DeviceScratch scratch(device, 4 * all);
  auto* keys = reinterpret_cast<uint32_t*>(scratch.data());
  each(device, all, Race{args, keys});
  const SortedRows sorted = sort_rows(device, keys, keys + all, args.rows, args.classes);
  each(device, chosen, TakeFirst{sorted.from, args.out, args.classes, args.samples});
}

}  // namespace fused_rnn::cuda
