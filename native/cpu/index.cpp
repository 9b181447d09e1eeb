// Elements by index along one dimension: read, written, added up.
#include <cstring>

#include "core/failure.h"
#include "cpu/isa.h"

FUSED_RNN_KERNELS_BEGIN

namespace {

constexpr int64_t kGrain = 1 << 15;

void check_indices(const char* op, const int32_t* index, int64_t count, int64_t n,
                   Context& context) {
  if (count == 0) return;
  // A negative number is too large a one without a sign.
  const uint32_t limit = n > INT32_MAX ? uint32_t{1} << 31 : static_cast<uint32_t>(n);
  const int64_t parts = (count + kGrain - 1) / kGrain;
  Scratch scratch(parts);
  auto* most = reinterpret_cast<uint32_t*>(scratch.data());
  context.pool.parallel_for(parts, 1, [&](int64_t begin, int64_t end) {
    for (int64_t part = begin; part < end; ++part) {
      const int64_t from = part * kGrain, to = from + kGrain < count ? from + kGrain : count;
      uint32_t largest = 0;
      for (int64_t i = from; i < to; ++i) {
        const auto at = static_cast<uint32_t>(index[i]);
        largest = at > largest ? at : largest;
      }
      most[part] = largest;
    }
  });
  // The first bad one, whatever the number of threads.
  for (int64_t part = 0; part < parts; ++part) {
    if (most[part] < limit) continue;
    for (int64_t i = part * kGrain; i < count; ++i) {
      if (static_cast<uint32_t>(index[i]) >= limit) fail_index(op, "index", i, index[i], n);
    }
  }
}

// Adds, or sets, columns [begin, end) of one matrix.
template <class T, bool add, bool number>
void scatter_columns(const ScatterArgs& args, int64_t o, int64_t begin, int64_t end) {
  const int64_t inner = args.inner;
  T* out = static_cast<T*>(args.out) + o * args.n * inner;
  const int32_t* index = args.index + o * args.m * inner;
  const T* src = number ? nullptr : static_cast<const T*>(args.src) + o * args.m * inner;
  T value;
  std::memcpy(&value, &args.number, sizeof value);
  if (args.inner == 1) {
    for (int64_t i = 0; i < args.m; ++i) {
      T& to = out[index[i]];
      const T from = number ? value : src[i];
      to = add ? to + from : from;
    }
    return;
  }
  for (int64_t i = 0; i < args.m; ++i) {
    for (int64_t c = begin; c < end; ++c) {
      T& to = out[index[i * inner + c] * inner + c];
      const T from = number ? value : src[i * inner + c];
      to = add ? to + from : from;
    }
  }
}

// Threads share the matrices or their columns, so that every element has one order of its sources.
template <class T, bool add, bool number>
void scatter_all(const ScatterArgs& args, Context& context) {
  const int64_t size = args.m * args.inner + 1;
  if (args.outer >= context.pool.threads() || args.inner < 16) {
    context.pool.parallel_for(args.outer, kGrain / size + 1, [&](int64_t begin, int64_t end) {
      for (int64_t o = begin; o < end; ++o) {
        scatter_columns<T, add, number>(args, o, 0, args.inner);
      }
    });
    return;
  }
  const int64_t column = args.outer * args.m + 1;
  context.pool.parallel_for(args.inner, kGrain / column + 16, [&](int64_t begin, int64_t end) {
    for (int64_t o = 0; o < args.outer; ++o) scatter_columns<T, add, number>(args, o, begin, end);
  });
}

template <class T>
void scatter_of(const ScatterArgs& args, Context& context) {
  if (args.add) {
    args.src == nullptr ? scatter_all<T, true, true>(args, context)
                        : scatter_all<T, true, false>(args, context);
  } else {
    args.src == nullptr ? scatter_all<T, false, true>(args, context)
                        : scatter_all<T, false, false>(args, context);
  }
}

}  // namespace

void gather(const GatherArgs& args, Context& context) {
  const int64_t n = args.n, m = args.m, inner = args.inner;
  check_indices(args.op, args.index, args.outer * m * inner, n, context);
  context.pool.parallel_for(args.outer * m, kGrain / (inner + 1) + 1,
                            [&](int64_t begin, int64_t end) {
                              for (int64_t r = begin; r < end;) {
                                const int64_t o = r / m, left = (o + 1) * m - r;
                                const int64_t rows = left < end - r ? left : end - r;
                                const uint32_t* x = args.x + o * n * inner;
                                const int32_t* index = args.index + r * inner;
                                uint32_t* out = args.out + r * inner;
                                if (inner == 1) {
                                  for (int64_t i = 0; i < rows; ++i) out[i] = x[index[i]];
                                } else {
                                  for (int64_t i = 0; i < rows; ++i) {
                                    for (int64_t c = 0; c < inner; ++c) {
                                      const int64_t at = i * inner + c;
                                      out[at] = x[index[at] * inner + c];
                                    }
                                  }
                                }
                                r += rows;
                              }
                            });
}

void scatter(const ScatterArgs& args, Context& context) {
  check_indices(args.op, args.index, args.outer * args.m * args.inner, args.n, context);
  const int64_t all = args.outer * args.n * args.inner;
  context.pool.parallel_for(all, kGrain, [&](int64_t begin, int64_t end) {
    auto* out = static_cast<uint32_t*>(args.out) + begin;
    const size_t bytes = static_cast<size_t>(end - begin) * 4;
    if (args.x == nullptr) {
      std::memset(out, 0, bytes);
    } else {
      std::memcpy(out, static_cast<const uint32_t*>(args.x) + begin, bytes);
    }
  });
  // What is only moved keeps its bits as an integer, NaN or not.
  if (args.integer || !args.add) return scatter_of<uint32_t>(args, context);
  scatter_of<float>(args, context);
}

FUSED_RNN_KERNELS_END
