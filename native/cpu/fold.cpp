// Products, norms, variances and logsumexp over the middle dimension of [outer, n, inner]: each is
// a function of an element and of one number that is found first (a mean, a largest value), what
// combines two of them, and what is done with the result.
#include <math.h>

#include <type_traits>

#include "cells/math.h"
#include "cpu/reduce.h"

FUSED_RNN_KERNELS_BEGIN

namespace {

constexpr int64_t kGrain = 1 << 15;
constexpr int64_t kColumns = 128;

template <class T>
T abs_(T x) {
  return x < 0 ? -x : x;  // NaN stays
}

// Combining two numbers. `kStart` changes nothing.
struct Add {
  static constexpr double kStart = 0;
  static double combine(double a, double b) { return a + b; }
};
struct Multiply {
  static constexpr double kStart = 1;
  static double combine(double a, double b) { return a * b; }
};
struct Most {  // of numbers >= 0; NaN spreads
  static constexpr double kStart = 0;
  static double combine(double a, double b) { return b > a || b != b ? b : a; }
};
struct Least {
  static constexpr double kStart = INFINITY;
  static double combine(double a, double b) { return b < a || b != b ? b : a; }
};

// The elements of each kind, of one float or of a register's worth; `first` is the number of before.
struct Itself : Multiply {
  template <class T>
  T operator()(T x, float) const {
    return x;
  }
};
struct Exponential : Add {
  template <class T>
  T operator()(T x, float first) const {
    return exp_(x - first);
  }
};
struct SquareAround : Add {
  template <class T>
  T operator()(T x, float first) const {
    return (x - first) * (x - first);
  }
};
struct Square : Add {
  template <class T>
  T operator()(T x, float) const {
    return x * x;
  }
};
struct Magnitude : Add {
  template <class T>
  T operator()(T x, float) const {
    return abs_(x);
  }
};
struct NotZero : Add {
  template <class T>
  T operator()(T x, float) const {
    return x != 0 ? T{} + 1 : T{};
  }
};
struct Power : Add {
  float p;
  float operator()(float x, float) const { return powf(abs_(x), p); }
  Vec operator()(Vec x, float first) const {
    for (int j = 0; j < kLanes; ++j) x[j] = operator()(x[j], first);
    return x;
  }
};
struct LargestMagnitude : Most {
  template <class T>
  T operator()(T x, float) const {
    return abs_(x);
  }
};
struct LeastMagnitude : Least {
  template <class T>
  T operator()(T x, float) const {
    return abs_(x);
  }
};

// Some neighbours of one row.
template <class F>
double part_of(const float* x, int64_t n, float first, F f) {
  if constexpr (std::is_base_of_v<Add, F>) {
    if (n > 16) return sum_over(n, [=](auto at) { return f(at(x), first); });
  } else if (n >= 4 * kLanes) {
    const auto combine = [](Vec a, Vec b) {
      if constexpr (std::is_base_of_v<Multiply, F>) return a * b;
      if constexpr (std::is_base_of_v<Most, F>) return a >= b || a != a ? a : b;
      return a <= b || a != a ? a : b;
    };
    Vec some[4];
    for (int j = 0; j < 4; ++j) some[j] = f(load(x + j * kLanes), first);
    int64_t i = 4 * kLanes;
    for (; i + 4 * kLanes <= n; i += 4 * kLanes) {
      for (int j = 0; j < 4; ++j) {
        some[j] = combine(some[j], f(load(x + i + j * kLanes), first));
      }
    }
    double total = F::kStart;
    for (; i < n; ++i) total = F::combine(total, f(x[i], first));
    for (int j = 0; j < 4; ++j) {
      for (int lane = 0; lane < kLanes; ++lane) total = F::combine(total, some[j][lane]);
    }
    return total;
  }
  double total = F::kStart;
  for (int64_t i = 0; i < n; ++i) total = F::combine(total, f(x[i], first));
  return total;
}

// A whole row, long ones in parts of a fixed size, by several threads where there is a context.
template <class F>
double row_of(const float* x, int64_t n, float first, F f, Context* context) {
  const int64_t parts = (n + kGrain - 1) / kGrain;
  if (parts <= 1) return part_of(x, n, first, f);
  Scratch scratch(2 * parts);
  auto* values = reinterpret_cast<double*>(scratch.data());
  const auto some = [&](int64_t begin, int64_t end) {
    for (int64_t part = begin; part < end; ++part) {
      const int64_t from = part * kGrain;
      values[part] = part_of(x + from, n - from < kGrain ? n - from : kGrain, first, f);
    }
  };
  if (context == nullptr) {
    some(0, parts);
  } else {
    context->pool.parallel_for(parts, 1, some);
  }
  double total = F::kStart;
  for (int64_t part = 0; part < parts; ++part) total = F::combine(total, values[part]);
  return total;
}

// first(row, length, context) and finish(total, first).
template <class F, class First, class Finish>
void fold_rows(const FoldArgs& args, Context& context, F f, First first, Finish finish) {
  const int64_t n = args.n;
  const auto* in = static_cast<const float*>(args.in);
  auto* out = static_cast<float*>(args.out);
  if (n >= kGrain && args.outer < 2 * context.pool.threads()) {
    for (int64_t o = 0; o < args.outer; ++o) {
      const float before = first(in + o * n, n, &context);
      out[o] = finish(row_of(in + o * n, n, before, f, &context), before);
    }
    return;
  }
  context.pool.parallel_for(args.outer, kGrain / (n + 1) + 1, [&](int64_t begin, int64_t end) {
    for (int64_t o = begin; o < end; ++o) {
      const float before = first(in + o * n, n, nullptr);
      out[o] = finish(row_of(in + o * n, n, before, f, nullptr), before);
    }
  });
}

// The same of columns, a tile at a time. first(x, stride, columns, values).
template <class F, class First, class Finish>
void fold_columns(const FoldArgs& args, Context& context, F f, First first, Finish finish) {
  const int64_t n = args.n, inner = args.inner;
  const int64_t tiles = (inner + kColumns - 1) / kColumns;
  const int64_t size = n * (inner < kColumns ? inner : kColumns) + 1;
  context.pool.parallel_for(args.outer * tiles, kGrain / size + 1, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      const int64_t o = task / tiles, from = task % tiles * kColumns;
      const int64_t count = kColumns < inner - from ? kColumns : inner - from;
      const float* x = static_cast<const float*>(args.in) + o * n * inner + from;
      double total[kColumns];
      float before[kColumns] = {};
      first(x, count, before);
      for (int64_t c = 0; c < count; ++c) total[c] = F::kStart;
      for (int64_t i = 0; i < n; ++i) {
        const float* row = x + i * inner;
        for (int64_t c = 0; c < count; ++c) {
          total[c] = F::combine(total[c], f(row[c], before[c]));
        }
      }
      float* out = static_cast<float*>(args.out) + o * inner + from;
      for (int64_t c = 0; c < count; ++c) out[c] = finish(total[c], before[c]);
    }
  });
}

template <class F, class Finish>
void fold_simply(const FoldArgs& args, Context& context, F f, Finish finish) {
  const auto done = [finish](double total, float) { return static_cast<float>(finish(total)); };
  if (args.inner == 1) {
    return fold_rows(args, context, f, [](const float*, int64_t, Context*) { return 0.0f; }, done);
  }
  fold_columns(args, context, f, [](const float*, int64_t, float*) {}, done);
}

void norms(const FoldArgs& args, Context& context) {
  const auto same = [](double total) { return total; };
  const double p = args.p;
  if (p == 2) return fold_simply(args, context, Square{}, [](double t) { return ::sqrt(t); });
  if (p == 1) return fold_simply(args, context, Magnitude{}, same);
  if (p == 0) return fold_simply(args, context, NotZero{}, same);
  if (p == INFINITY) return fold_simply(args, context, LargestMagnitude{}, same);
  if (p == -INFINITY) return fold_simply(args, context, LeastMagnitude{}, same);
  Power power{};
  power.p = static_cast<float>(p);
  fold_simply(args, context, power, [p](double total) { return ::pow(total, 1 / p); });
}

void variances(const FoldArgs& args, Context& context) {
  const auto n = static_cast<double>(args.n);
  const double free = n - args.p > 0 ? n - args.p : 0;
  const auto finish = [free](double total, float) { return static_cast<float>(total / free); };
  if (args.inner == 1) {
    const auto mean = [n](const float* x, int64_t count, Context* threads) {
      struct Plain : Add {
        float operator()(float v, float) const { return v; }
        Vec operator()(Vec v, float) const { return v; }
      };
      return static_cast<float>(row_of(x, count, 0, Plain{}, threads) / n);
    };
    return fold_rows(args, context, SquareAround{}, mean, finish);
  }
  const int64_t rows = args.n, inner = args.inner;
  const auto means = [rows, inner, n](const float* x, int64_t count, float* mean) {
    double total[kColumns] = {};
    for (int64_t i = 0; i < rows; ++i) {
      for (int64_t c = 0; c < count; ++c) total[c] += x[i * inner + c];
    }
    for (int64_t c = 0; c < count; ++c) mean[c] = static_cast<float>(total[c] / n);
  };
  fold_columns(args, context, SquareAround{}, means, finish);
}

// Infinity is left to the exponentials.
float finite_or_zero(float x) { return x - x == 0 ? x : 0; }

void log_sums(const FoldArgs& args, Context& context) {
  const auto finish = [](double total, float most) {
    return static_cast<float>(::log(total) + most);
  };
  if (args.inner == 1) {
    const auto most = [](const float* x, int64_t n, Context*) {
      return finite_or_zero(max_of(x, n));
    };
    return fold_rows(args, context, Exponential{}, most, finish);
  }
  const int64_t rows = args.n, inner = args.inner;
  const auto most = [rows, inner](const float* x, int64_t count, float* max) {
    for (int64_t c = 0; c < count; ++c) max[c] = -INFINITY;
    for (int64_t i = 0; i < rows; ++i) {
      const float* row = x + i * inner;
      for (int64_t c = 0; c < count; ++c) max[c] = row[c] > max[c] ? row[c] : max[c];
    }
    for (int64_t c = 0; c < count; ++c) max[c] = finite_or_zero(max[c]);
  };
  fold_columns(args, context, Exponential{}, most, finish);
}

void integer_products(const FoldArgs& args, Context& context) {
  const int64_t n = args.n, inner = args.inner;
  context.pool.parallel_for(
      args.outer, kGrain / (n * inner + 1) + 1, [&](int64_t begin, int64_t end) {
        for (int64_t o = begin; o < end; ++o) {
          const auto* in = static_cast<const uint32_t*>(args.in) + o * n * inner;
          auto* out = static_cast<uint32_t*>(args.out) + o * inner;
          for (int64_t c = 0; c < inner; ++c) out[c] = 1;
          for (int64_t i = 0; i < n; ++i) {
            for (int64_t c = 0; c < inner; ++c) out[c] *= in[i * inner + c];
          }
        }
      });
}

}  // namespace

void fold(const FoldArgs& args, Context& context) {
  switch (args.kind) {
    case FoldKind::product:
      if (args.integer) return integer_products(args, context);
      return fold_simply(args, context, Itself{}, [](double total) { return total; });
    case FoldKind::logsumexp:
      return log_sums(args, context);
    case FoldKind::norm:
      return norms(args, context);
    case FoldKind::variance:
      return variances(args, context);
  }
}

FUSED_RNN_KERNELS_END
