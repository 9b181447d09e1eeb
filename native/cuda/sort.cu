// Rows in order, or the first few of them: pieces are sorted in shared memory, then merged two by
// two, each element finding its own place by a binary search in the other piece.
#include <utility>

#include "cuda/elements.h"
#include "cuda/ops.h"
#include "cuda/sort.h"

namespace fused_rnn::cuda {
namespace {

constexpr int kPiece = 1024;  // sorted by one block, four elements a thread
static_assert(kPiece == 4 * kBlock);

// Bitonic. Words of a key and a position are all different, so that the order is stable.
__global__ void __launch_bounds__(kBlock)
    sort_pieces_kernel(uint32_t* keys, int32_t* from, int64_t rows, int64_t n, int64_t pieces) {
  FUSED_RNN_SHARED(uint64_t, words, kPiece);
  for (int64_t piece = blockIdx.x; piece < rows * pieces; piece += gridDim.x) {
    const int64_t row = piece / pieces, begin = piece % pieces * kPiece;
    const int count = static_cast<int>(min(n - begin, int64_t{kPiece}));
    int size = 2;  // a power of two, to which the end is filled up
    while (size < count) size *= 2;
    for (int i = threadIdx.x; i < size; i += kBlock) {
      words[i] = i < count ? uint64_t{keys[row * n + begin + i]} << 32 | static_cast<uint64_t>(i)
                           : ~uint64_t{0};
    }
    __syncthreads();
    for (int run = 2; run <= size; run *= 2) {
      for (int distance = run / 2; distance > 0; distance /= 2) {
        for (int pair = threadIdx.x; pair < size / 2; pair += kBlock) {
          const int i = 2 * pair - (pair & (distance - 1)), j = i + distance;
          const bool up = (i & run) == 0;
          const uint64_t a = words[i], b = words[j];
          if ((a > b) == up) {
            words[i] = b;
            words[j] = a;
          }
        }
        __syncthreads();
      }
    }
    for (int i = threadIdx.x; i < count; i += kBlock) {
      keys[row * n + begin + i] = static_cast<uint32_t>(words[i] >> 32);
      from[row * n + begin + i] =
          static_cast<int32_t>(begin + static_cast<int64_t>(words[i] & 0xffffffffu));
    }
    __syncthreads();
  }
}

// How many of `keys` (sorted) come before `key`: those below it, or, with `equal`, those equal as
// well.
__device__ int64_t place(const uint32_t* keys, int64_t n, uint32_t key, bool equal) {
  int64_t low = 0, high = n;
  while (low < high) {
    const int64_t middle = (low + high) / 2;
    if (keys[middle] < key || (equal && keys[middle] == key)) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

struct Merge {
  const uint32_t* keys;
  const int32_t* from;
  uint32_t* to_keys;
  int32_t* to_from;
  int64_t n, piece;
  bool small;
  __device__ void operator()(int64_t i) const {
    const Divided row = divide(i, n, small);
    const Divided pair = divide(row.rest, 2 * piece, small);
    const uint32_t* line = keys + row.quotient * n;
    const int64_t left = pair.quotient * 2 * piece, right = min(n, left + piece);
    const int64_t end = min(n, right + piece);
    const bool second = row.rest >= right;
    const uint32_t key = line[row.rest];
    const int64_t others = second ? place(line + left, right - left, key, true)
                                  : place(line + right, end - right, key, false);
    const int64_t own = row.rest - (second ? right : left);
    const int64_t at = row.quotient * n + left + own + others;
    to_keys[at] = key;
    to_from[at] = from[i];
  }
};

struct MakeKey {
  bool integer;
  uint32_t flip;
  __device__ uint32_t operator()(uint32_t bits) const { return sort_key(bits, integer) ^ flip; }
};

struct TakeFirst {
  const uint32_t* in;
  const int32_t* from;
  uint32_t* values;
  int32_t* indices;
  int64_t n, k;
  bool small;
  __device__ void operator()(int64_t i) const {
    const Divided row = divide(i, k, small);
    const int32_t index = from[row.quotient * n + row.rest];
    indices[i] = index;
    if (values != nullptr) values[i] = in[row.quotient * n + index];
  }
};

}  // namespace

SortedRows sort_rows(CudaDevice& device, uint32_t* keys, uint32_t* scratch, int64_t rows,
                     int64_t n) {
  const int64_t all = rows * n, pieces = (n + kPiece - 1) / kPiece;
  uint32_t* other_keys = scratch;
  auto* from = reinterpret_cast<int32_t*>(scratch + all);
  auto* other_from = reinterpret_cast<int32_t*>(scratch + 2 * all);
  launch(sort_pieces_kernel, dim3(static_cast<unsigned>(std::min<int64_t>(rows * pieces, 1 << 16))),
         dim3(kBlock), 0, device.stream(), keys, from, rows, n, pieces);
  for (int64_t piece = kPiece; piece < n; piece *= 2) {
    each(device, all,
         Merge{keys, from, other_keys, other_from, n, piece, small_numbers(all + 2 * piece)});
    std::swap(keys, other_keys);
    std::swap(from, other_from);
  }
  return {keys, from};
}

void sort(const SortArgs& args, Context& context) {
  CudaDevice& device = device_of(context);
  const int64_t all = args.rows * args.n;
  if (args.rows * args.k == 0) return;
  DeviceScratch scratch(device, 4 * all);
  auto* keys = reinterpret_cast<uint32_t*>(scratch.data());
  map(device, all, MakeKey{args.integer, args.descending ? 0xffffffffu : 0}, keys, args.in);
  const SortedRows sorted = sort_rows(device, keys, keys + all, args.rows, args.n);
  each(device, args.rows * args.k,
       TakeFirst{args.in, sorted.from, args.values, args.indices, args.n, args.k,
                 small_numbers(args.rows * args.k)});
}

}  // namespace fused_rnn::cuda
