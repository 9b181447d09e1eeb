// Elements by index along one dimension: read, written, added up.
#include <cstring>

#include "cuda/indices.h"
#include "cuda/ops.h"
#include "cuda/sort.h"

namespace fused_rnn::cuda {
namespace {

struct Gather {
  const uint32_t* x;
  const int32_t* index;
  uint32_t* out;
  int64_t n, m, inner;
  bool small;
  __device__ void operator()(int64_t i) const {
    const int64_t at = index[i];
    if (at < 0 || at >= n) return;
    const Divided row = divide(i, inner, small);
    const int64_t o = divide(row.quotient, m, small).quotient;
    out[i] = x[(o * n + at) * inner + row.rest];
  }
};

struct Nothing {
  __device__ void operator()(int64_t) const {}
};

// What one place of the result gets: those that are sent to it in the order of their positions.
template <class T>
struct Taken {
  const T* x;
  const T* src;  // null: `number`
  T* out;
  T number;
  bool add;
  int64_t n, m, inner;
  bool small;

  // Calls take(position) by `each`, which calls it for those of one place in their order.
  template <class Each>
  __device__ void write(int64_t i, Each each) const {
    const Divided column = divide(i, inner, small);
    const Divided place = divide(column.quotient, n, small);
    const int64_t o = place.quotient, c = column.rest;
    T value = x == nullptr ? T{} : x[i];
    each(o, c, place.rest, [&](int64_t position) {
      const T from = src == nullptr ? number : src[(o * m + position) * inner + c];
      value = add ? value + from : from;
    });
    out[i] = value;
  }
};

// Few indices: every place looks at all of its column.
template <class T>
struct ScatterFew {
  Taken<T> taken;
  const int32_t* index;
  __device__ void operator()(int64_t i) const {
    const int64_t m = taken.m, inner = taken.inner;
    const int32_t* all = index;
    taken.write(i, [=](int64_t o, int64_t c, int64_t place, auto take) {
      for (int64_t p = 0; p < m; ++p) {
        if (all[(o * m + p) * inner + c] == place) take(p);
      }
    });
  }
};

// Many: the columns' indices are sorted, and every place looks for its own among them.
template <class T>
struct ScatterMany {
  Taken<T> taken;
  SortedRows sorted;  // [outer, inner, m]
  __device__ void operator()(int64_t i) const {
    const int64_t m = taken.m, inner = taken.inner;
    const SortedRows rows = sorted;
    taken.write(i, [=](int64_t o, int64_t c, int64_t place, auto take) {
      const uint32_t* keys = rows.keys + (o * inner + c) * m;
      const int32_t* from = rows.from + (o * inner + c) * m;
      int64_t low = 0, high = m;
      while (low < high) {
        const int64_t middle = (low + high) / 2;
        if (keys[middle] < place) {
          low = middle + 1;
        } else {
          high = middle;
        }
      }
      for (; low < m && keys[low] == place; ++low) take(from[low]);
    });
  }
};

// [outer, m, inner] to keys [outer, inner, m].
struct IndexKeys {
  const int32_t* index;
  uint32_t* keys;
  int64_t m, inner;
  bool small;
  __device__ void operator()(int64_t i) const {
    const Divided column = divide(i, m, small);
    const Divided outer = divide(column.quotient, inner, small);
    const int64_t from = (outer.quotient * m + column.rest) * inner + outer.rest;
    keys[i] = static_cast<uint32_t>(index[from]);
  }
};

template <class T>
void scatter_of(CudaDevice& device, const ScatterArgs& args) {
  const int64_t all = args.outer * args.n * args.inner, count = args.outer * args.m * args.inner;
  T number;
  memcpy(&number, &args.number, sizeof number);
  const Taken<T> taken{static_cast<const T*>(args.x),
                       static_cast<const T*>(args.src),
                       static_cast<T*>(args.out),
                       number,
                       args.add,
                       args.n,
                       args.m,
                       args.inner,
                       small_numbers(std::max(all, count))};
  if (args.m <= 48) return each(device, all, ScatterFew<T>{taken, args.index});
  DeviceScratch scratch(device, 4 * count);
  auto* keys = reinterpret_cast<uint32_t*>(scratch.data());
  each(device, count, IndexKeys{args.index, keys, args.m, args.inner, taken.small});
  const SortedRows sorted = sort_rows(device, keys, keys + count, args.outer * args.inner, args.m);
  each(device, all, ScatterMany<T>{taken, sorted});
}

}  // namespace

void gather(const GatherArgs& args, Context& context) {
  CudaDevice& device = device_of(context);
  const int64_t count = args.outer * args.m * args.inner;
  if (count == 0) return;
  each_checked(device, count,
               Gather{args.x, args.index, args.out, args.n, args.m, args.inner,
                      small_numbers(std::max(count, args.n))},
               IndexRange{args.index, count, 0, args.n}, device.index_site(args.op, "index"));
}

void scatter(const ScatterArgs& args, Context& context) {
  CudaDevice& device = device_of(context);
  const int64_t count = args.outer * args.m * args.inner;
  if (count > 0) {
    each_checked(device, 0, Nothing{}, IndexRange{args.index, count, 0, args.n},
                 device.index_site(args.op, "index"));
  }
  if (args.outer * args.n * args.inner == 0) return;
  // What is only moved keeps its bits as an integer, NaN or not.
  if (args.integer || !args.add) return scatter_of<uint32_t>(device, args);
  scatter_of<float>(device, args);
}

}  // namespace fused_rnn::cuda
