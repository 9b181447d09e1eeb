// A choice between two arrays, with broadcasting.
#include <cstring>

#include "cuda/elements.h"
#include "cuda/ops.h"

namespace fused_rnn::cuda {
namespace {

// The shape without dimensions of size one, with neighbours that one stride each can walk made one.
struct Walk {
  int32_t dims;
  bool small;  // all numbers of elements fit 32 bits
  int64_t n;
  int64_t shape[kMaxDims], c[kMaxDims], a[kMaxDims], b[kMaxDims];
};

Walk collapse(const WhereArgs& args) {
  Walk walk{};
  walk.n = 1;
  for (int d = 0; d < args.dims; ++d) {
    const int64_t size = args.shape[d];
    const int64_t c = args.c_strides[d], a = args.a_strides[d], b = args.b_strides[d];
    walk.n *= size;
    if (size == 1) continue;
    int last = walk.dims - 1;
    if (last >= 0 && walk.c[last] == c * size && walk.a[last] == a * size &&
        walk.b[last] == b * size) {
      walk.shape[last] *= size;
    } else {
      walk.shape[++last] = size;
      walk.dims += 1;
    }
    walk.c[last] = c;
    walk.a[last] = a;
    walk.b[last] = b;
  }
  walk.small = small_numbers(walk.n);
  return walk;
}

// a and b: null, for a number.
template <class T>
struct Choose {
  Walk walk;
  T* out;
  const uint8_t* condition;
  const T* a;
  const T* b;
  T a_number, b_number;
  __device__ void operator()(int64_t i) const {
    int64_t rest = i, in_c = 0, in_a = 0, in_b = 0;
#pragma unroll
    for (int d = kMaxDims - 1; d >= 0; --d) {
      if (d >= walk.dims) continue;
      const Divided by = divide(rest, walk.shape[d], walk.small);
      rest = by.quotient;
      in_c += by.rest * walk.c[d];
      in_a += by.rest * walk.a[d];
      in_b += by.rest * walk.b[d];
    }
    if (condition[in_c] != 0) {
      out[i] = a == nullptr ? a_number : a[in_a];
    } else {
      out[i] = b == nullptr ? b_number : b[in_b];
    }
  }
};

template <class T>
void choose(const WhereArgs& args, Context& context) {
  const Walk walk = collapse(args);
  each(device_of(context), walk.n,
       Choose<T>{walk, static_cast<T*>(args.out), args.condition, static_cast<const T*>(args.a),
                 static_cast<const T*>(args.b), static_cast<T>(args.a_number),
                 static_cast<T>(args.b_number)});
}

}  // namespace

void where(const WhereArgs& args, Context& context) {
  if (args.bytes) return choose<uint8_t>(args, context);
  choose<uint32_t>(args, context);
}

}  // namespace fused_rnn::cuda
