// Products of small tiles by a warp on the tensor cores. For .cu files.
//
// A 16 x 8 tile of sums, a 16 x 8 tile a and an 8 x 8 tile b of words (a word is one number, or two
// in bfloat16) are spread over the lanes as PTX's mma.sync.m16n8k8, or .m16n8k16, wants them. With
// g = lane / 4 and t = lane % 4 a lane has
//   sums (g, 2t) (g, 2t+1) (g+8, 2t) (g+8, 2t+1),
//   a    (g, t) (g+8, t) (g, t+4) (g+8, t+4),
//   b    (t, g) (t+4, g).
#pragma once

#include <cstdint>

#include "cuda/rnn/handoff.h"
#include "ops/cuda.h"

namespace fused_rnn::cuda {

// The nearest number with 10 bits behind the binary point, in the bits that the tensor cores look
// at. A NaN has to be with_canonical_nan()'s to stay one. In two terms an infinity becomes a NaN.
__device__ inline uint32_t round_to_tf32(float x) { return bits_of(x) + 0x1000u; }

// The nearest bfloat16, ties to even.
__device__ inline uint16_t round_to_bf16(float x) {
  const uint32_t bits = bits_of(x);
  if (x != x) return 0x7fff;
  return static_cast<uint16_t>((bits + 0x7fffu + (bits >> 16 & 1)) >> 16);
}

// Numbers in a word; and TF32 terms in a number, which is nearly their sum: two terms have nearly
// float's precision.
template <Fp32Precision precision>
constexpr int kOfWord = precision == Fp32Precision::bf16 ? 2 : 1;
template <Fp32Precision precision>
constexpr int kTerms = precision == Fp32Precision::ieee ? 2 : 1;

// One number as kTerms words, or two neighbours in one word. NaNs have to be as publish() writes
// them.
template <Fp32Precision precision>
struct Word {
  uint32_t term[kTerms<precision>];
  Word() = default;
  __device__ Word(float x, float y) {
    if constexpr (precision == Fp32Precision::bf16) {
#if defined(__CUDACC__)
      asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(term[0]) : "f"(y), "f"(x));
#else
      term[0] = round_to_bf16(x) | static_cast<uint32_t>(round_to_bf16(y)) << 16;
#endif
    } else {
      term[0] = round_to_tf32(x);
      if constexpr (kTerms<precision> > 1) {
        term[0] &= ~0x1fffu;
        term[1] = round_to_tf32(x - float_of(term[0]));
      }
    }
  }
};

// Four neighbouring numbers.
template <Fp32Precision precision>
struct Words {
  Word<precision> word[4 / kOfWord<precision>];
  __device__ explicit Words(const float4& x) {
    if constexpr (kOfWord<precision> == 2) {
      word[0] = {x.x, x.y};
      word[1] = {x.z, x.w};
    } else {
      word[0] = {x.x, 0};
      word[1] = {x.y, 0};
      word[2] = {x.z, 0};
      word[3] = {x.w, 0};
    }
  }
};

#if defined(__CUDACC__)
template <Fp32Precision precision>
__device__ inline void multiply_tile(float (&sums)[4], const uint32_t (&a)[4],
                                     const uint32_t (&b)[2]) {
  if constexpr (precision == Fp32Precision::bf16) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, "
        "{%8,%9}, {%0,%1,%2,%3};"
        : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
  } else {
    asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, "
        "{%8,%9}, {%0,%1,%2,%3};"
        : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
  }
}
#endif

// sums[i] += a b(i), by all lanes of a warp. Of two terms each the product of the small ones is
// left out, as it is below float's precision.
template <Fp32Precision precision, int count, class B>
__device__ inline void multiply_tiles(float (&sums)[count][4],
                                      const uint32_t (&a)[kTerms<precision>][4], B b) {
  constexpr bool kTwo = kTerms<precision> > 1;
#if defined(__CUDACC__)
#pragma unroll
  for (int i = 0; i < count; ++i) {
    if constexpr (kTwo) {
      multiply_tile<precision>(sums[i], a[1], b(i)[0]);
      multiply_tile<precision>(sums[i], a[0], b(i)[1]);
    }
    multiply_tile<precision>(sums[i], a[0], b(i)[0]);
  }
#else
  ::cuda_host::TileProduct products[count * (kTwo ? 3 : 1)];
  int n = 0;
  for (int i = 0; i < count; ++i) {
    if constexpr (kTwo) {
      products[n++] = {sums[i], a[1], b(i)[0]};
      products[n++] = {sums[i], a[0], b(i)[1]};
    }
    products[n++] = {sums[i], a[0], b(i)[0]};
  }
  ::cuda_host::multiply_tiles(products, n, kOfWord<precision>);
#endif
}

}  // namespace fused_rnn::cuda
