// Rows by index, and adding rows back: embedding, packing, permuting states.
#include "cuda/indices.h"
#include "cuda/ops.h"

namespace fused_rnn::cuda {
namespace {

// T: an element, or four at a time; width counts those.
template <class T>
struct GatherRows {
  const T* x;
  const int32_t* index;
  T* y;
  int64_t rows, width, n;
  T fill;
  bool small;
  __device__ void operator()(int64_t i) const {
    const Divided row = divide(i, width, small);
    const Divided outer = divide(row.quotient, n, small);
    const int64_t from = index[outer.rest];
    const bool absent = from < 0 || from >= rows;
    y[i] = absent ? fill : x[(outer.quotient * rows + from) * width + row.rest];
  }
};

// ---- Adding rows back -------------------------------------------------------------------------
//
// Each row of dx is the sum of the rows of dy that its index names, in a fixed order: so first the
// positions of all indices are sorted into buckets of neighbouring rows, each bucket in the order
// of the positions; then a warp (or a block) for each row looks through its bucket. With B buckets
// that reads indices B * n + rows * n / B times, instead of rows * n.

struct Entry {
  int32_t i, row;
};
struct Bucket {
  int64_t begin, end;  // among the entries
};

constexpr int kWarps = kBlock / kWarp;

// A block for each bucket of `per_bucket` rows. How many entries lie before its own it counts
// itself.
__global__ void __launch_bounds__(kBlock)
    bucket_kernel(const int32_t* index, int64_t n, int64_t rows, int64_t skip, int64_t per_bucket,
                  Entry* entries, Bucket* buckets) {
  FUSED_RNN_SHARED(int64_t, scratch, kWarp);
  FUSED_RNN_SHARED(int, counts, kWarps);
  const int64_t low = blockIdx.x * per_bucket, high = min(low + per_bucket, rows);
  int64_t before = 0;
  for (int64_t i = threadIdx.x; i < n; i += kBlock) {
    const int64_t row = index[i];
    before += row >= 0 && row < low && row != skip;
  }
  const int64_t begin = block_reduce(before, 0, scratch, reduce::Plus{});
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  int64_t end = begin;
  for (int64_t first = 0; first < n; first += kBlock) {
    const int64_t i = first + threadIdx.x;
    const int32_t row = i < n ? index[i] : -1;
    const bool mine = row >= low && row < high && row != skip;
    const unsigned votes = __ballot_sync(0xffffffffu, mine);
    if (lane == 0) counts[warp] = __popc(votes);
    __syncthreads();
    int64_t at = end + __popc(votes & ((1u << lane) - 1));
    for (int w = 0; w < kWarps; ++w) {
      if (w < warp) at += counts[w];
      end += counts[w];
    }
    if (mine) entries[at] = {static_cast<int32_t>(i), row};
    __syncthreads();
  }
  if (threadIdx.x == 0) buckets[blockIdx.x] = {begin, end};
}

struct Scatter {
  const Entry* entries;
  const Bucket* buckets;
  int64_t outer, rows, n, skip, per_bucket;
};

// T: one float, or Four; width counts those. kWarp of them of one row make a tile, which `share`
// warps of a block add up together: 1, or all.
template <class T, int share>
__global__ void __launch_bounds__(kBlock)
    scatter_kernel(Scatter s, int64_t width, int64_t tiles, const T* dy, T* dx) {
  constexpr int kFloats = sizeof(T) / sizeof(float);
  FUSED_RNN_SHARED(float, others, (share > 1 ? kBlock * kFloats : 1));
  constexpr int kTiles = kWarps / share;  // of a block
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const int part = warp % share;
  const int64_t all = s.outer * s.rows * tiles;
  for (int64_t tile0 = blockIdx.x * int64_t{kTiles}; tile0 < all;
       tile0 += gridDim.x * int64_t{kTiles}) {
    const int64_t tile = tile0 + warp / share;
    const int64_t c = tile % tiles * kWarp + lane;
    const int64_t r = tile / tiles % s.rows, o = tile / tiles / s.rows;
    float sum[kFloats] = {};
    if (tile < all && r != s.skip) {
      const Bucket bucket = s.buckets[r / s.per_bucket];
      const int64_t length = bucket.end - bucket.begin;
      const int64_t to = bucket.begin + length * (part + 1) / share;
      for (int64_t at = bucket.begin + length * part / share; at < to; at += kWarp) {
        const Entry entry = at + lane < to ? s.entries[at + lane] : Entry{-1, -1};
        unsigned votes = __ballot_sync(0xffffffffu, entry.row == r);
        while (votes != 0) {
          // Four rows are on their way at a time.
          T row[4];
          for (int k = 0; k < 4; ++k) {
            row[k] = T{};
            if (votes == 0) continue;
            const int64_t i = __shfl_sync(0xffffffffu, entry.i, __ffs(votes) - 1);
            votes &= votes - 1;
            if (c < width) row[k] = dy[(o * s.n + i) * width + c];
          }
          for (int k = 0; k < 4; ++k) {
            for (int f = 0; f < kFloats; ++f) sum[f] += reinterpret_cast<const float*>(&row[k])[f];
          }
        }
      }
    }
    if constexpr (share > 1) {
      for (int f = 0; f < kFloats; ++f) others[threadIdx.x * kFloats + f] = sum[f];
      __syncthreads();
      for (int w = 1; w < share && part == 0; ++w) {
        for (int f = 0; f < kFloats; ++f) {
          sum[f] += others[((warp + w) * kWarp + lane) * kFloats + f];
        }
      }
      __syncthreads();
    }
    if (tile >= all || part > 0 || c >= width) continue;
    T out;
    for (int f = 0; f < kFloats; ++f) reinterpret_cast<float*>(&out)[f] = sum[f];
    dx[(o * s.rows + r) * width + c] = out;
  }
}

template <class T>
void scatter(CudaDevice& device, const ScatterAddRowsArgs& args, const Scatter& s) {
  const int64_t width = args.width * static_cast<int64_t>(sizeof(float)) / sizeof(T);
  const int64_t tiles = (width + kWarp - 1) / kWarp;
  const auto* dy = reinterpret_cast<const T*>(args.dy);
  auto* dx = reinterpret_cast<T*>(args.dx);
  // Rows that are named often are worth a block each.
  const bool whole_block = args.n >= 8192 || args.n >= 8 * args.rows;
  const int64_t blocks = s.outer * s.rows * tiles;
  const auto grid = [](int64_t n) {
    return dim3(static_cast<unsigned>(std::min<int64_t>(n, 1 << 20)));
  };
  if (whole_block) {
    launch(scatter_kernel<T, kWarps>, grid(blocks), dim3(kBlock), 0, device.stream(), s, width,
           tiles, dy, dx);
  } else {
    launch(scatter_kernel<T, 1>, grid((blocks + kWarps - 1) / kWarps), dim3(kBlock), 0,
           device.stream(), s, width, tiles, dy, dx);
  }
}

// A thread for each column of each row: those of a row that begins a run add it up.
struct SumRuns {
  const int32_t *sorted, *order;
  const float* x;
  int32_t* index;
  float* sums;
  int64_t n, width;
  bool small;
  __device__ void operator()(int64_t i) const {
    const Divided at = divide(i, width, small);
    const int64_t first = at.quotient;
    const int32_t row = sorted[first];
    const bool begins = row >= 0 && (first == 0 || sorted[first - 1] != row);
    if (at.rest == 0) index[first] = begins ? row : -1;
    float sum = 0;
    if (begins) {
      sum = x[order[first] * width + at.rest];
      for (int64_t j = first + 1; j < n && sorted[j] == row; ++j) {
        sum += x[order[j] * width + at.rest];
      }
    }
    sums[i] = sum;
  }
};

// T: an element, or four at a time; `four` says how many.
template <class T>
void gather(CudaDevice& device, const GatherRowsArgs& args, int four, T fill) {
  const IndexRange range{args.index, args.n, args.fill_absent ? -1 : 0, args.rows};
  const FaultSite site = device.index_site(args.op, "index");
  const int64_t width = args.width / four, count = args.outer * args.n * width;
  each_checked(device, count,
               GatherRows<T>{static_cast<const T*>(args.x), args.index, static_cast<T*>(args.y),
                             args.rows, width, args.n, fill, small_numbers(count)},
               range, site);
}

}  // namespace

void gather_rows(const GatherRowsArgs& args, Context& context) {
  CudaDevice& device = device_of(context);
  if (args.n == 0) return;
  if (args.bytes) return gather(device, args, 1, static_cast<uint8_t>(args.fill));
  if (args.width % 4 == 0 && aligned16(args.x) && aligned16(args.y)) {
    const uint32_t fill = args.fill;
    return gather(device, args, 4, Four<uint32_t>{{fill, fill, fill, fill}});
  }
  gather(device, args, 1, args.fill);
}

void scatter_add_rows(const ScatterAddRowsArgs& args, Context& context) {
  CudaDevice& device = device_of(context);
  if (args.outer * args.rows * args.width == 0) return;
  const int64_t most = std::clamp<int64_t>(args.n / 128, 1, 256);
  const int64_t per_bucket = (args.rows + most - 1) / most;
  const int64_t buckets = (args.rows + per_bucket - 1) / per_bucket;
  DeviceScratch entry_scratch(device, std::max<int64_t>(1, args.n) * sizeof(Entry) / sizeof(float));
  DeviceScratch bucket_scratch(device, buckets * sizeof(Bucket) / sizeof(float));
  auto* entries = reinterpret_cast<Entry*>(entry_scratch.data());
  auto* bucket = reinterpret_cast<Bucket*>(bucket_scratch.data());
  launch(bucket_kernel, dim3(static_cast<unsigned>(buckets)), dim3(kBlock), 0, device.stream(),
         args.index, args.n, args.rows, args.skip, per_bucket, entries, bucket);
  const Scatter s{entries, bucket, args.outer, args.rows, args.n, args.skip, per_bucket};
  if (args.width % 4 == 0 && aligned16(args.dy) && aligned16(args.dx)) {
    scatter<Four<float>>(device, args, s);
  } else {
    scatter<float>(device, args, s);
  }
}

void sum_runs(const SumRunsArgs& args, Context& context) {
  const int64_t all = args.n * args.width;
  if (all == 0) return;
  each(device_of(context), all,
       SumRuns{args.sorted, args.order, args.x, args.index, args.sums, args.n, args.width,
               small_numbers(all)});
}

}  // namespace fused_rnn::cuda
