// A choice between two arrays, with broadcasting.
#include "cpu/isa.h"

FUSED_RNN_KERNELS_BEGIN

namespace {

// One innermost row; strides are 0 or 1 after broadcasting, or anything else.
template <class T>
void row(T* out, const uint8_t* c, const T* a, const T* b, int64_t n, int64_t sc, int64_t sa,
         int64_t sb) {
  if (sc == 0) {
    const T* from = *c != 0 ? a : b;
    const int64_t stride = *c != 0 ? sa : sb;
    for (int64_t i = 0; i < n; ++i) out[i] = from[i * stride];
  } else if (sc == 1 && sa == 1 && sb == 1) {
    for (int64_t i = 0; i < n; ++i) out[i] = c[i] != 0 ? a[i] : b[i];
  } else if (sc == 1 && sa == 0 && sb == 1) {
    const T value = *a;
    for (int64_t i = 0; i < n; ++i) out[i] = c[i] != 0 ? value : b[i];
  } else if (sc == 1 && sa == 1 && sb == 0) {
    const T value = *b;
    for (int64_t i = 0; i < n; ++i) out[i] = c[i] != 0 ? a[i] : value;
  } else if (sc == 1 && sa == 0 && sb == 0) {
    const T one = *a, other = *b;
    for (int64_t i = 0; i < n; ++i) out[i] = c[i] != 0 ? one : other;
  } else {
    for (int64_t i = 0; i < n; ++i) out[i] = c[i * sc] != 0 ? a[i * sa] : b[i * sb];
  }
}

template <class T>
void choose(const WhereArgs& args, Context& context) {
  const int last = args.dims - 1;
  const int64_t width = args.dims == 0 ? 1 : args.shape[last];
  if (width == 0) return;
  int64_t rows = 1;
  for (int d = 0; d < last; ++d) rows *= args.shape[d];
  const auto* a_all = static_cast<const T*>(args.a != nullptr ? args.a : &args.a_number);
  const auto* b_all = static_cast<const T*>(args.b != nullptr ? args.b : &args.b_number);
  const int64_t sc = last < 0 ? 0 : args.c_strides[last], sa = last < 0 ? 0 : args.a_strides[last],
                sb = last < 0 ? 0 : args.b_strides[last];
  auto* out = static_cast<T*>(args.out);
  // Elements [from, to) of the rows [begin, end), counted through all dimensions but the last.
  const auto part = [&](int64_t begin, int64_t end, int64_t from, int64_t to) {
    for (int64_t r = begin; r < end; ++r) {
      int64_t c = from * sc, a = from * sa, b = from * sb, rest = r;
      for (int d = last - 1; d >= 0; --d) {
        const int64_t index = rest % args.shape[d];
        rest /= args.shape[d];
        c += index * args.c_strides[d];
        a += index * args.a_strides[d];
        b += index * args.b_strides[d];
      }
      row(out + r * width + from, args.condition + c, a_all + a, b_all + b, to - from, sc, sa, sb);
    }
  };
  constexpr int64_t kGrain = 1 << 15;
  if (rows == 1) {
    context.pool.parallel_for(width, kGrain,
                              [&](int64_t begin, int64_t end) { part(0, 1, begin, end); });
  } else {
    context.pool.parallel_for(rows, kGrain / width + 1,
                              [&](int64_t begin, int64_t end) { part(begin, end, 0, width); });
  }
}

}  // namespace

void where(const WhereArgs& args, Context& context) {
  if (args.bytes) return choose<uint8_t>(args, context);
  choose<uint32_t>(args, context);
}

FUSED_RNN_KERNELS_END
