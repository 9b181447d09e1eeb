#include "cpu/transpose.h"

#include <algorithm>
#include <utility>

#include "cpu/vector.h"

FUSED_RNN_KERNELS_BEGIN
namespace {

template <int N>
struct Wide {
  typedef float Row __attribute__((vector_size(N * sizeof(float))));
  typedef float Unaligned __attribute__((vector_size(N * sizeof(float)), aligned(4), may_alias));
};

// Exchanges bit S of the column with bit S of the row: `a` is a row without it, `b` the row S
// below. After all bits of N the block is transposed.
template <int S, class Row, int... j>
void exchange(Row& a, Row& b, std::integer_sequence<int, j...>) {
  constexpr int N = sizeof...(j);
  const Row upper = __builtin_shufflevector(a, b, (j & S ? N + j - S : j)...);
  b = __builtin_shufflevector(a, b, (j & S ? N + j : j + S)...);
  a = upper;
}

// N x N elements.
template <int N>
inline void transpose_block(const float* in, int64_t in_ld, float* out, int64_t out_ld) {
  typename Wide<N>::Row rows[N];
  const auto stage = [&](auto bit) {
    constexpr int S = decltype(bit)::value;
    _Pragma("GCC unroll 16") for (int i = 0; i < N; ++i) {
      if ((i & S) == 0) exchange<S>(rows[i], rows[i + S], std::make_integer_sequence<int, N>{});
    }
  };
  _Pragma("GCC unroll 16") for (int i = 0; i < N; ++i) {
    rows[i] = *reinterpret_cast<const typename Wide<N>::Unaligned*>(in + i * in_ld);
  }
  if constexpr (N > 8) stage(std::integral_constant<int, 8>{});
  if constexpr (N > 4) stage(std::integral_constant<int, 4>{});
  stage(std::integral_constant<int, 2>{});
  stage(std::integral_constant<int, 1>{});
  _Pragma("GCC unroll 16") for (int i = 0; i < N; ++i) {
    *reinterpret_cast<typename Wide<N>::Unaligned*>(out + i * out_ld) = rows[i];
  }
}

// As many of the rows [from, to) and of the columns as fill blocks of N, and the rest of the rows
// for these columns. Returns the first column that is left.
template <int N>
int64_t transpose_columns(const float* in, int64_t from, int64_t to, int64_t first, int64_t columns,
                          int64_t in_ld, float* out, int64_t out_ld) {
  for (; first + N <= columns; first += N) {
    int64_t j = from;
    for (; j + N <= to; j += N) {
      transpose_block<N>(in + j * in_ld + first, in_ld, out + first * out_ld + j, out_ld);
    }
    for (; j < to; ++j) {
      for (int64_t i = first; i < first + N; ++i) out[i * out_ld + j] = in[j * in_ld + i];
    }
  }
  return first;
}

}  // namespace

void transpose(const float* in, int64_t rows, int64_t columns, int64_t in_ld, float* out,
               int64_t out_ld) {
  // Strips of as many rows of `out` as the columns that fill its cache lines: those rows are
  // written from the left to the right.
  constexpr int64_t kLine = 16;
  for (int64_t first = 0; first < columns; first += kLine) {
    const int64_t last = std::min(first + kLine, columns);
    for (int64_t begin = 0; begin < rows; begin += kLine) {
      const int64_t end = std::min(begin + kLine, rows);
      int64_t i = first;
      if (end - begin >= kLanes) {
        i = transpose_columns<kLanes>(in, begin, end, i, last, in_ld, out, out_ld);
      }
      i = transpose_columns<4>(in, begin, end, i, last, in_ld, out, out_ld);
      for (; i < last; ++i) {
        for (int64_t j = begin; j < end; ++j) out[i * out_ld + j] = in[j * in_ld + i];
      }
    }
  }
}

FUSED_RNN_KERNELS_END
