// Running sums, products and linear recurrences along the middle dimension.
#include <type_traits>

#include "cpu/isa.h"

FUSED_RNN_KERNELS_BEGIN

namespace {

constexpr int64_t kGrain = 1 << 14;
constexpr int64_t kColumns = 256;  // whose states stay in the first-level cache

// One step: the state before, the element and the factor of the recurrence.
struct Sum {
  template <class S>
  static S step(S state, S x, S) {
    return state + x;
  }
  static constexpr int kStart = 0;
};
struct Product {
  template <class S>
  static S step(S state, S x, S) {
    return state * x;
  }
  static constexpr int kStart = 1;
};
struct Linear {
  template <class S>
  static S step(S state, S x, S a) {
    return x + a * state;
  }
  static constexpr int kStart = 0;
};

// Where the factor of element i lies: reverse, it is that of the element before in the run.
template <class Kind, class T>
const T* factors(const ScanArgs& args) {
  if constexpr (!std::is_same_v<Kind, Linear>) return nullptr;
  return reinterpret_cast<const T*>(args.a);
}

// Rows of neighbours: `kTogether` at a time, so that no step waits for the one before it.
template <class Kind, class T, class S>
void scan_rows(const ScanArgs& args, int64_t begin, int64_t end) {
  constexpr int64_t kTogether = 8;
  const int64_t n = args.n, sign = args.reverse ? -1 : 1, first = args.reverse ? n - 1 : 0;
  const T* a = factors<Kind, T>(args);
  const int64_t shift = args.reverse ? 1 : 0;
  for (int64_t row = begin; row < end; row += kTogether) {
    const int64_t rows = end - row < kTogether ? end - row : kTogether;
    const T* x = static_cast<const T*>(args.x) + row * n;
    T* out = static_cast<T*>(args.out) + row * n;
    S state[kTogether];
    for (int64_t r = 0; r < kTogether; ++r) state[r] = Kind::kStart;
    const auto steps = [&](int64_t count) {
      for (int64_t i = first, left = n; left > 0; --left, i += sign) {
        for (int64_t r = 0; r < count; ++r) {
          S factor = 0;
          if (a != nullptr && left < n) factor = a[row * n + r * n + i + shift];
          state[r] = Kind::template step<S>(state[r], x[r * n + i], factor);
          out[r * n + i] = static_cast<T>(state[r]);
        }
      }
    };
    rows == kTogether ? steps(kTogether) : steps(rows);
  }
}

template <class Kind, class T, class S>
void scan_columns(const ScanArgs& args, int64_t o, int64_t from, int64_t count) {
  const int64_t n = args.n, inner = args.inner;
  const T* a = factors<Kind, T>(args);
  const int64_t shift = args.reverse ? inner : 0;
  S state[kColumns];
  for (int64_t c = 0; c < count; ++c) state[c] = Kind::kStart;
  for (int64_t left = n; left > 0; --left) {
    const int64_t at = (o * n + (args.reverse ? left - 1 : n - left)) * inner + from;
    const T* x = static_cast<const T*>(args.x) + at;
    T* out = static_cast<T*>(args.out) + at;
    if (a != nullptr && left < n) {
      for (int64_t c = 0; c < count; ++c) {
        state[c] = Kind::template step<S>(state[c], x[c], a[at + shift + c]);
        out[c] = static_cast<T>(state[c]);
      }
    } else {
      for (int64_t c = 0; c < count; ++c) {
        state[c] = Kind::template step<S>(state[c], x[c], 0);
        out[c] = static_cast<T>(state[c]);
      }
    }
  }
}

template <class Kind, class T, class S>
void scan_any(const ScanArgs& args, Context& context) {
  const int64_t n = args.n, inner = args.inner;
  if (inner == 1) {
    context.pool.parallel_for(args.outer, kGrain / (n + 1) + 1, [&](int64_t begin, int64_t end) {
      scan_rows<Kind, T, S>(args, begin, end);
    });
    return;
  }
  const int64_t tiles = (inner + kColumns - 1) / kColumns;
  const int64_t size = n * (inner < kColumns ? inner : kColumns) + 1;
  context.pool.parallel_for(args.outer * tiles, kGrain / size + 1, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      const int64_t from = task % tiles * kColumns;
      const int64_t left = inner - from;
      scan_columns<Kind, T, S>(args, task / tiles, from, left < kColumns ? left : kColumns);
    }
  });
}

}  // namespace

void scan(const ScanArgs& args, Context& context) {
  switch (args.kind) {
    case ScanKind::sum:
      return args.integer ? scan_any<Sum, uint32_t, uint32_t>(args, context)
                          : scan_any<Sum, float, double>(args, context);
    case ScanKind::product:
      return args.integer ? scan_any<Product, uint32_t, uint32_t>(args, context)
                          : scan_any<Product, float, double>(args, context);
    case ScanKind::linear:
      return scan_any<Linear, float, double>(args, context);
  }
}

FUSED_RNN_KERNELS_END
