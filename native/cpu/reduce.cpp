// Sum and maximum over one dimension of [outer, n, inner].
#include "cpu/reduce.h"

FUSED_RNN_KERNELS_BEGIN

namespace {

constexpr int64_t kGrain = 1 << 15;
constexpr int64_t kColumns = 256;  // of one tile: its sums stay in the first-level cache
constexpr int64_t kRows = 32;      // summed in float before they are added in double

// f(o, from, count) for tiles of neighbouring columns of [outer, rows, columns].
template <class F>
void each_tile(int64_t outer, int64_t rows, int64_t columns, Context& context, F f) {
  const int64_t tiles = (columns + kColumns - 1) / kColumns;
  const int64_t size = rows * (columns < kColumns ? columns : kColumns);
  context.pool.parallel_for(
      outer * tiles, kGrain / (size + 1) + 1, [&](int64_t begin, int64_t end) {
        for (int64_t task = begin; task < end; ++task) {
          const int64_t from = task % tiles * kColumns;
          f(task / tiles, from, from + kColumns < columns ? kColumns : columns - from);
        }
      });
}

void sum_tile(const float* in, int64_t rows, int64_t stride, int64_t columns, float scale,
              float* out) {
  double total[kColumns] = {};
  float part[kColumns];
  for (int64_t begin = 0; begin < rows; begin += kRows) {
    const int64_t end = begin + kRows < rows ? begin + kRows : rows;
    for (int64_t c = 0; c < columns; ++c) part[c] = 0;
    int64_t r = begin;
    for (; r + 4 <= end; r += 4) {
      const float *r0 = in + r * stride, *r1 = r0 + stride, *r2 = r1 + stride, *r3 = r2 + stride;
      for (int64_t c = 0; c < columns; ++c) part[c] += (r0[c] + r1[c]) + (r2[c] + r3[c]);
    }
    for (; r < end; ++r) {
      const float* row = in + r * stride;
      for (int64_t c = 0; c < columns; ++c) part[c] += row[c];
    }
    for (int64_t c = 0; c < columns; ++c) total[c] += part[c];
  }
  for (int64_t c = 0; c < columns; ++c) out[c] = static_cast<float>(scale * total[c]);
}

double plain_sum(const float* in, int64_t n) {
  if (n > 16) return sum_of(in, n);
  double total = 0;
  for (int64_t i = 0; i < n; ++i) total += in[i];
  return total;
}

// One long row: parts of a fixed size, whatever the number of threads.
double long_sum(const float* in, int64_t n, Context& context) {
  const int64_t parts = (n + kGrain - 1) / kGrain;
  if (parts <= 1) return plain_sum(in, n);
  Scratch scratch(2 * parts);
  auto* sums = reinterpret_cast<double*>(scratch.data());
  context.pool.parallel_for(parts, 1, [&](int64_t begin, int64_t end) {
    for (int64_t part = begin; part < end; ++part) {
      const int64_t from = part * kGrain;
      sums[part] = plain_sum(in + from, n - from < kGrain ? n - from : kGrain);
    }
  });
  double total = 0;
  for (int64_t part = 0; part < parts; ++part) total += sums[part];
  return total;
}

void sum_integers(const SumArgs& args, Context& context) {
  const auto* in = static_cast<const uint32_t*>(args.in);
  auto* out = static_cast<uint32_t*>(args.out);
  const int64_t n = args.n, inner = args.inner;
  context.pool.parallel_for(args.outer, kGrain / (n * inner + 1) + 1,
                            [&](int64_t begin, int64_t end) {
                              for (int64_t o = begin; o < end; ++o) {
                                uint32_t* sums = out + o * inner;
                                for (int64_t c = 0; c < inner; ++c) sums[c] = 0;
                                for (int64_t i = 0; i < n; ++i) {
                                  const uint32_t* row = in + (o * n + i) * inner;
                                  for (int64_t c = 0; c < inner; ++c) sums[c] += row[c];
                                }
                              }
                            });
}

// Where the largest of a row first is. NaN is larger than all.
int64_t first_largest(const float* x, int64_t n) {
  const Vec least = Vec{} - INFINITY;
  Vec most[4] = {least, least, least, least};
  LaneMask nan{};
  const auto look = [&](Vec v, int j) {
    most[j] = v > most[j] ? v : most[j];
    nan |= v != v;
  };
  int64_t i = 0;
  for (; i + 4 * kLanes <= n; i += 4 * kLanes) {
    for (int j = 0; j < 4; ++j) look(load(x + i + j * kLanes), j);
  }
  for (; i + kLanes <= n; i += kLanes) look(load(x + i), 0);
  if (i < n) look(load_part(x + i, n - i, least), 1);
  for (int j = 1; j < 4; ++j) most[0] = most[j] > most[0] ? most[j] : most[0];
  const float max = max_lanes(most[0]);
  const bool any_nan = any_lane(nan);
  i = 0;
  for (; i + 4 * kLanes <= n; i += 4 * kLanes) {
    LaneMask found{};
    for (int j = 0; j < 4; ++j) {
      const Vec v = load(x + i + j * kLanes);
      found |= any_nan ? v != v : v == max;
    }
    if (any_lane(found)) break;
  }
  while (any_nan ? x[i] == x[i] : x[i] != max) ++i;
  return i;
}

int64_t first_largest(const int32_t* x, int64_t n) {
  int32_t lanes[kSums];
  for (int j = 0; j < kSums; ++j) lanes[j] = x[0];
  int64_t i = 0;
  for (; i + kSums <= n; i += kSums) {
    for (int j = 0; j < kSums; ++j) lanes[j] = x[i + j] > lanes[j] ? x[i + j] : lanes[j];
  }
  int32_t max = lanes[0];
  for (int j = 1; j < kSums; ++j) max = lanes[j] > max ? lanes[j] : max;
  for (; i < n; ++i) max = x[i] > max ? x[i] : max;
  i = 0;
  while (x[i] != max) ++i;
  return i;
}

template <class T>
bool larger(T x, T than) {
  return x > than || (x != x && than == than);  // the first of several stays
}

// The same for neighbouring columns of n rows.
template <class T>
void largest_of_columns(const T* x, int64_t n, int64_t stride, int64_t columns, T* value,
                        int32_t* index) {
  T best[kColumns];
  int32_t where[kColumns] = {};
  for (int64_t c = 0; c < columns; ++c) best[c] = x[c];
  for (int64_t i = 1; i < n; ++i) {
    const T* row = x + i * stride;
    const auto here = static_cast<int32_t>(i);
    for (int64_t c = 0; c < columns; ++c) {
      const bool more = larger(row[c], best[c]);
      best[c] = more ? row[c] : best[c];
      where[c] = more ? here : where[c];
    }
  }
  for (int64_t c = 0; c < columns; ++c) index[c] = where[c];
  if (value == nullptr) return;
  for (int64_t c = 0; c < columns; ++c) value[c] = best[c];
}

template <class T>
void max_rows(const MaxArgs& args, Context& context) {
  const T* in = static_cast<const T*>(args.in);
  T* value = static_cast<T*>(args.value);
  const int64_t n = args.n, inner = args.inner;
  if (inner == 1) {
    context.pool.parallel_for(args.outer, kGrain / n + 1, [&](int64_t begin, int64_t end) {
      for (int64_t o = begin; o < end; ++o) {
        const int64_t i = first_largest(in + o * n, n);
        args.index[o] = static_cast<int32_t>(i);
        if (value != nullptr) value[o] = in[o * n + i];
      }
    });
    return;
  }
  each_tile(args.outer, n, inner, context, [&](int64_t o, int64_t from, int64_t count) {
    largest_of_columns(in + o * n * inner + from, n, inner, count,
                       value ? value + o * inner + from : nullptr, args.index + o * inner + from);
  });
}

}  // namespace

void column_sum(const float* in, int64_t outer, int64_t rows, int64_t columns, int64_t ld,
                float scale, float* out, Context& context) {
  each_tile(outer, rows, columns, context, [&](int64_t o, int64_t from, int64_t count) {
    sum_tile(in + o * rows * ld + from, rows, ld, count, scale, out + o * columns + from);
  });
}

void sum(const SumArgs& args, Context& context) {
  if (args.integer) return sum_integers(args, context);
  const auto* in = static_cast<const float*>(args.in);
  auto* out = static_cast<float*>(args.out);
  const int64_t n = args.n;
  if (args.inner > 1) {
    return column_sum(in, args.outer, n, args.inner, args.inner, args.scale, out, context);
  }
  if (n >= kGrain) {
    for (int64_t o = 0; o < args.outer * args.inner; ++o) {
      out[o] = static_cast<float>(args.scale * long_sum(in + o * n, n, context));
    }
    return;
  }
  context.pool.parallel_for(args.outer * args.inner, kGrain / (n + 1) + 1,
                            [&](int64_t begin, int64_t end) {
                              for (int64_t o = begin; o < end; ++o) {
                                out[o] = static_cast<float>(args.scale * plain_sum(in + o * n, n));
                              }
                            });
}

void max(const MaxArgs& args, Context& context) {
  if (args.integer) return max_rows<int32_t>(args, context);
  max_rows<float>(args, context);
}

void max_backward(const MaxBackwardArgs& args, Context& context) {
  const int64_t n = args.n, inner = args.inner;
  context.pool.parallel_for(args.outer, kGrain / (n * inner + 1) + 1,
                            [&](int64_t begin, int64_t end) {
                              for (int64_t i = begin * n * inner; i < end * n * inner; ++i) {
                                args.dx[i] = 0;
                              }
                              for (int64_t o = begin; o < end; ++o) {
                                for (int64_t c = 0; c < inner; ++c) {
                                  const int64_t i = args.index[o * inner + c];
                                  args.dx[(o * n + i) * inner + c] = args.dy[o * inner + c];
                                }
                              }
                            });
}

void max_all_backward(const MaxAllBackwardArgs& args, Context&) {
  const float value = *args.value;
  const bool nan = value != value;
  int64_t count = 0;
  for (int64_t i = 0; i < args.n; ++i)
    count += args.x[i] == value || (nan && args.x[i] != args.x[i]);
  const float part = *args.dy / static_cast<float>(count);
  for (int64_t i = 0; i < args.n; ++i) {
    args.dx[i] = args.x[i] == value || (nan && args.x[i] != args.x[i]) ? part : 0;
  }
}

FUSED_RNN_KERNELS_END
