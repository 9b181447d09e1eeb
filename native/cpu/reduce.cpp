// Sum and maximum over one dimension of [outer, n, inner].
#include "cpu/reduce.h"

#include <type_traits>

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

// The order turned round, so that the smallest is found as the largest is; its own inverse.
template <bool smallest, class T>
T turned(T x) {
  if constexpr (!smallest) return x;
  if constexpr (std::is_same_v<T, int32_t>) return ~x;
  return -x;
}

// The largest of a row; NaN is larger than all.
template <bool smallest>
float largest(const float* x, int64_t n) {
  const Vec least = Vec{} - INFINITY;
  Vec most[4] = {least, least, least, least};
  LaneMask nan{};
  const auto look = [&](Vec v, int j) {
    v = turned<smallest>(v);
    most[j] = v > most[j] ? v : most[j];
    nan |= v != v;
  };
  int64_t i = 0;
  for (; i + 4 * kLanes <= n; i += 4 * kLanes) {
    for (int j = 0; j < 4; ++j) look(load(x + i + j * kLanes), j);
  }
  for (; i + kLanes <= n; i += kLanes) look(load(x + i), 0);
  if (i < n) look(load_part(x + i, n - i, turned<smallest>(least)), 1);
  for (int j = 1; j < 4; ++j) most[0] = most[j] > most[0] ? most[j] : most[0];
  return turned<smallest>(any_lane(nan) ? NAN : max_lanes(most[0]));
}

template <bool smallest>
int32_t largest(const int32_t* x, int64_t n) {
  int32_t lanes[kSums];
  for (int j = 0; j < kSums; ++j) lanes[j] = turned<smallest>(x[0]);
  int64_t i = 0;
  for (; i + kSums <= n; i += kSums) {
    for (int j = 0; j < kSums; ++j) {
      const int32_t value = turned<smallest>(x[i + j]);
      lanes[j] = value > lanes[j] ? value : lanes[j];
    }
  }
  int32_t max = lanes[0];
  for (int j = 1; j < kSums; ++j) max = lanes[j] > max ? lanes[j] : max;
  for (; i < n; ++i) max = turned<smallest>(x[i]) > max ? turned<smallest>(x[i]) : max;
  return turned<smallest>(max);
}

// Where a row first has the value.
int64_t first_place(const float* x, float value) {
  int64_t i = 0;
  const bool nan = value != value;
  // It is there, so no end is looked for; whole registers only where it is not in them.
  while (nan ? x[i] == x[i] : x[i] != value) ++i;
  return i;
}

int64_t first_of(const float* x, int64_t n, float value) {
  const bool nan = value != value;
  int64_t i = 0;
  for (; i + 4 * kLanes <= n; i += 4 * kLanes) {
    LaneMask found{};
    for (int j = 0; j < 4; ++j) {
      const Vec v = load(x + i + j * kLanes);
      found |= nan ? v != v : v == value;
    }
    if (any_lane(found)) break;
  }
  return i + first_place(x + i, value);
}

int64_t first_of(const int32_t* x, int64_t, int32_t value) {
  int64_t i = 0;
  while (x[i] != value) ++i;
  return i;
}

template <class T>
bool larger(T x, T than) {
  return x > than || (x != x && than == than);  // the first of several stays
}

// The same for neighbouring columns of n rows.
template <bool smallest, class T>
void largest_of_columns(const T* x, int64_t n, int64_t stride, int64_t columns, T* value,
                        int32_t* index) {
  T best[kColumns];
  int32_t where[kColumns] = {};
  for (int64_t c = 0; c < columns; ++c) best[c] = turned<smallest>(x[c]);
  for (int64_t i = 1; i < n; ++i) {
    const T* row = x + i * stride;
    if (index == nullptr) {
      for (int64_t c = 0; c < columns; ++c) {
        const T here = turned<smallest>(row[c]);
        best[c] = larger(here, best[c]) ? here : best[c];
      }
      continue;
    }
    const auto here = static_cast<int32_t>(i);
    for (int64_t c = 0; c < columns; ++c) {
      const T candidate = turned<smallest>(row[c]);
      const bool more = larger(candidate, best[c]);
      best[c] = more ? candidate : best[c];
      where[c] = more ? here : where[c];
    }
  }
  if (index != nullptr) {
    for (int64_t c = 0; c < columns; ++c) index[c] = where[c];
  }
  if (value == nullptr) return;
  for (int64_t c = 0; c < columns; ++c) value[c] = turned<smallest>(best[c]);
}

// One long row: parts of a fixed size, each with its largest.
template <bool smallest, class T>
void largest_of_long(const T* x, int64_t n, T* value, int32_t* index, Context& context) {
  const int64_t parts = (n + kGrain - 1) / kGrain;
  const auto length = [=](int64_t part) {
    return n - part * kGrain < kGrain ? n - part * kGrain : kGrain;
  };
  Scratch scratch(parts);
  T* best = reinterpret_cast<T*>(scratch.data());
  context.pool.parallel_for(parts, 1, [&](int64_t begin, int64_t end) {
    for (int64_t part = begin; part < end; ++part) {
      best[part] = largest<smallest>(x + part * kGrain, length(part));
    }
  });
  const T most = largest<smallest>(best, parts);
  if (value != nullptr) *value = most;
  if (index == nullptr) return;
  const int64_t part = first_of(best, parts, most);
  const int64_t from = part * kGrain;
  *index = static_cast<int32_t>(from + first_of(x + from, length(part), most));
}

template <bool smallest, class T>
void max_rows(const MaxArgs& args, Context& context) {
  const T* in = static_cast<const T*>(args.in);
  T* value = static_cast<T*>(args.value);
  const int64_t n = args.n, inner = args.inner;
  if (inner == 1 && n >= kGrain && args.outer < 2 * context.pool.threads()) {
    for (int64_t o = 0; o < args.outer; ++o) {
      largest_of_long<smallest>(in + o * n, n, value ? value + o : nullptr,
                                args.index ? args.index + o : nullptr, context);
    }
    return;
  }
  if (inner == 1) {
    context.pool.parallel_for(args.outer, kGrain / n + 1, [&](int64_t begin, int64_t end) {
      for (int64_t o = begin; o < end; ++o) {
        const T most = largest<smallest>(in + o * n, n);
        if (args.index != nullptr) {
          args.index[o] = static_cast<int32_t>(first_of(in + o * n, n, most));
        }
        if (value != nullptr) value[o] = most;
      }
    });
    return;
  }
  each_tile(args.outer, n, inner, context, [&](int64_t o, int64_t from, int64_t count) {
    largest_of_columns<smallest>(in + o * n * inner + from, n, inner, count,
                                 value ? value + o * inner + from : nullptr,
                                 args.index ? args.index + o * inner + from : nullptr);
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
  if (args.smallest) {
    return args.integer ? max_rows<true, int32_t>(args, context)
                        : max_rows<true, float>(args, context);
  }
  args.integer ? max_rows<false, int32_t>(args, context) : max_rows<false, float>(args, context);
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

namespace {

bool same(float x, float value) { return x == value || (x != x && value != value); }

float share_of(const float* x, int64_t n, float value, float dy) {
  int64_t count = 0;
  for (int64_t i = 0; i < n; ++i) count += same(x[i], value);
  return dy / static_cast<float>(count);
}
void give_share(const float* x, int64_t n, float value, float share, float* dx) {
  for (int64_t i = 0; i < n; ++i) dx[i] = same(x[i], value) ? share : 0;
}

}  // namespace

void extreme_backward(const ExtremeBackwardArgs& args, Context& context) {
  const int64_t n = args.n, inner = args.inner;
  if (inner == 1 && args.outer == 1) {
    const float share = share_of(args.x, n, *args.value, *args.dy);
    return context.pool.parallel_for(n, kGrain, [&](int64_t begin, int64_t end) {
      give_share(args.x + begin, end - begin, *args.value, share, args.dx + begin);
    });
  }
  if (inner == 1) {
    return context.pool.parallel_for(
        args.outer, kGrain / (n + 1) + 1, [&](int64_t begin, int64_t end) {
          for (int64_t o = begin; o < end; ++o) {
            const float* x = args.x + o * n;
            const float share = share_of(x, n, args.value[o], args.dy[o]);
            give_share(x, n, args.value[o], share, args.dx + o * n);
          }
        });
  }
  each_tile(args.outer, n, inner, context, [&](int64_t o, int64_t from, int64_t count) {
    const float* value = args.value + o * inner + from;
    const float* dy = args.dy + o * inner + from;
    const int64_t first = o * n * inner + from;
    float part[kColumns] = {};
    for (int64_t i = 0; i < n; ++i) {
      const float* row = args.x + first + i * inner;
      for (int64_t c = 0; c < count; ++c) part[c] += same(row[c], value[c]) ? 1 : 0;
    }
    for (int64_t c = 0; c < count; ++c) part[c] = dy[c] / part[c];
    for (int64_t i = 0; i < n; ++i) {
      const float* row = args.x + first + i * inner;
      float* to = args.dx + first + i * inner;
      for (int64_t c = 0; c < count; ++c) to[c] = same(row[c], value[c]) ? part[c] : 0;
    }
  });
}

FUSED_RNN_KERNELS_END
