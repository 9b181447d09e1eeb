// Products of small tiles by a warp on the tensor cores. For .cu files.
//
// A 16 x 8 tile of sums, a 16 x 8 tile a and an 8 x 8 tile b are spread over the lanes as PTX's
// mma.sync.m16n8k8 wants them. With g = lane / 4 and t = lane % 4 a lane has
//   sums (g, 2t) (g, 2t+1) (g+8, 2t) (g+8, 2t+1),
//   a    (g, t) (g+8, t) (g, t+4) (g+8, t+4),
//   b    (t, g) (t+4, g).
#pragma once

#include <cstdint>

#include "cuda/arrivals.h"

namespace fused_rnn::cuda {

// The nearest number with 10 bits behind the binary point, in the bits that the tensor cores look
// at. Of NaNs only present()'s stays one. In two parts an infinity becomes a NaN.
__device__ inline uint32_t round_to_tf32(float x) { return bits_of(x) + 0x1000u; }

// A number in kParts parts whose sum it is, nearly: one part is TF32, two have float's precision.
template <int kParts>
struct Split {
  uint32_t part[kParts];
  Split() = default;
  // `x`: as announce() writes it.
  __device__ explicit Split(float x) {
    part[0] = round_to_tf32(x);
    if constexpr (kParts > 1) {
      part[0] &= ~0x1fffu;
      part[1] = round_to_tf32(x - float_of(part[0]));
    }
  }
};

#if defined(__CUDACC__)
__device__ inline void multiply_tile(float (&sums)[4], const uint32_t (&a)[4],
                                     const uint32_t (&b)[2]) {
  asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};"
      : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
#endif

// sums[i] += a b(i), by all lanes of a warp. Of two parts the product of the small ones is left
// out, as it is below float's precision.
template <int kParts, int count, class B>
__device__ inline void multiply_tiles(float (&sums)[count][4], const uint32_t (&a)[kParts][4],
                                      B b) {
#if defined(__CUDACC__)
#pragma unroll
  for (int i = 0; i < count; ++i) {
    if constexpr (kParts > 1) {
      multiply_tile(sums[i], a[1], b(i)[0]);
      multiply_tile(sums[i], a[0], b(i)[1]);
    }
    multiply_tile(sums[i], a[0], b(i)[0]);
  }
#else
  ::cuda_host::TileProduct products[count * (2 * kParts - 1)];
  int n = 0;
  for (int i = 0; i < count; ++i) {
    if constexpr (kParts > 1) {
      products[n++] = {sums[i], a[1], b(i)[0]};
      products[n++] = {sums[i], a[0], b(i)[1]};
    }
    products[n++] = {sums[i], a[0], b(i)[0]};
  }
  ::cuda_host::multiply_tiles(products, n);
#endif
}

}  // namespace fused_rnn::cuda
