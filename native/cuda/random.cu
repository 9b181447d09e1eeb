// Random fills, dropout and one-hot rows. The numbers are the CPU's.
#include <cstring>

#include "core/random.h"
#include "cuda/indices.h"
#include "cuda/ops.h"

namespace fused_rnn::cuda {
namespace {

// Four elements share a generator block: f(i, bits) is their position and their numbers.
template <class F>
struct EachFour {
  F f;
  uint64_t seed, counter;
  int64_t n;
  bool fours;  // 16 bytes at a time
  float* out;
  __device__ void operator()(int64_t block) const {
    const RandomBlock bits = philox(seed, counter, static_cast<uint64_t>(block));
    const int64_t from = 4 * block;
    const int count = static_cast<int>(min(n - from, int64_t{4}));
    const Four<float> values = f(from, count, fours && count == 4, bits);
    if (fours && count == 4) {
      reinterpret_cast<Four<float>*>(out)[block] = values;
    } else {
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        if (k < count) out[from + k] = values.x[k];
      }
    }
  }
};

template <class F>
void each_four(Context& context, int64_t n, uint64_t seed, uint64_t counter, float* out,
               bool aligned, F f) {
  each(device_of(context), (n + 3) / 4,
       EachFour<F>{f, seed, counter, n, aligned && aligned16(out), out});
}

struct Uniform {
  float a, b;
  __device__ Four<float> operator()(int64_t, int, bool, const RandomBlock& bits) const {
    Four<float> values;
    for (int k = 0; k < 4; ++k) values.x[k] = a + (b - a) * uniform(bits.x[k]);
    return values;
  }
};

// Box and Muller: two uniform numbers give two normal ones.
struct Normal {
  float a, b;
  __device__ Four<float> operator()(int64_t, int, bool, const RandomBlock& bits) const {
    Four<float> values;
    for (int k = 0; k < 4; k += 2) {
      const float open = (static_cast<float>(bits.x[k] >> 8) + 1) / 16777216.0f;
      const float radius = b * sqrtf(-2 * logf(open));
      const float angle = 6.28318530718f * uniform(bits.x[k + 1]);
      values.x[k] = a + radius * cosf(angle);
      values.x[k + 1] = a + radius * sinf(angle);
    }
    return values;
  }
};

struct WholeNumbers {
  uint32_t low;
  uint64_t range;
  __device__ Four<float> operator()(int64_t, int, bool, const RandomBlock& bits) const {
    Four<float> values;
    for (int k = 0; k < 4; ++k) {
      const uint32_t number = low + static_cast<uint32_t>(bits.x[k] * range >> 32);
      memcpy(&values.x[k], &number, sizeof number);
    }
    return values;
  }
};

struct DrawBooleans {
  uint8_t* out;
  float p;
  uint64_t seed, counter;
  int64_t n;
  __device__ void operator()(int64_t block) const {
    const RandomBlock bits = philox(seed, counter, static_cast<uint64_t>(block));
    for (int k = 0; k < 4; ++k) {
      const int64_t i = 4 * block + k;
      if (i < n) out[i] = static_cast<uint8_t>(uniform(bits.x[k]) < p);
    }
  }
};

struct Drop {
  const float* in;
  float p, scale;
  __device__ Four<float> operator()(int64_t from, int count, bool four,
                                    const RandomBlock& bits) const {
    Four<float> values;
    if (four) {
      values = reinterpret_cast<const Four<float>*>(in)[from / 4];
    } else {
#pragma unroll
      for (int k = 0; k < 4; ++k) values.x[k] = k < count ? in[from + k] : 0;
    }
    for (int k = 0; k < 4; ++k) {
      values.x[k] = uniform(bits.x[k]) >= p ? values.x[k] * scale : 0;
    }
    return values;
  }
};

struct WriteOneHot {
  float* out;
  const int32_t* indices;
  int64_t classes;
  bool small;
  __device__ void operator()(int64_t i) const {
    const Divided at = divide(i, classes, small);
    out[i] = indices[at.quotient] == at.rest ? 1 : 0;
  }
};

}  // namespace

void random(const RandomArgs& args, Context& context) {
  if (args.kind == RandomKind::uniform) {
    return each_four(context, args.n, args.seed, args.counter, args.out, true,
                     Uniform{args.a, args.b});
  }
  if (args.kind == RandomKind::integer) {
    return each_four(
        context, args.n, args.seed, args.counter, args.out, true,
        WholeNumbers{static_cast<uint32_t>(args.low), static_cast<uint64_t>(args.range)});
  }
  if (args.kind == RandomKind::boolean) {
    auto* out = reinterpret_cast<uint8_t*>(args.out);
    return each(device_of(context), (args.n + 3) / 4,
                DrawBooleans{out, args.a, args.seed, args.counter, args.n});
  }
  each_four(context, args.n, args.seed, args.counter, args.out, true, Normal{args.a, args.b});
}

void dropout(const DropoutArgs& args, Context& context) {
  const float scale = args.p < 1 ? 1 / (1 - args.p) : 0;
  each_four(context, args.n, args.seed, args.counter, args.out, aligned16(args.in),
            Drop{args.in, args.p, scale});
}

void one_hot(const OneHotArgs& args, Context& context) {
  CudaDevice& device = device_of(context);
  if (args.n == 0) return;
  const int64_t n = args.out == nullptr ? 0 : args.n * args.classes;
  each_checked(device, n, WriteOneHot{args.out, args.indices, args.classes, small_numbers(n)},
               IndexRange{args.indices, args.n, 0, args.classes},
               device.index_site("oneHot", "indices"));
}

}  // namespace fused_rnn::cuda
