// How blocks of one launch hand numbers to each other in the middle of it, without a barrier, a
// fence or a separate flag: the flag is in the data, as in NCCL's LL protocol. A reader polls the
// number itself until it is ready. For .cu files.
//
// There are two forms:
// - A word is kEmpty until it is published, once. For arrays in which every step has its own rows.
// - A number travels with a tag, the number of the step, in one access of 8 bytes. The same memory
//   can then be used again with another tag.
//
// Accesses are relaxed and of one word, pair or quad: nothing is said about the order of other
// memory, and nothing needs to be.
#pragma once

#include <cstring>

#include "cuda/device/cooperative.h"

namespace fused_rnn::cuda {

// What cudaMemset(…, kEmptyByte, …) leaves: a NaN that no arithmetic gives.
constexpr int kEmptyByte = 0xff;
constexpr uint32_t kEmpty = 0xffffffffu;

__device__ inline uint32_t bits_of(float x) {
#if defined(__CUDACC__)
  return __float_as_uint(x);
#else
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  return bits;
#endif
}

__device__ inline float float_of(uint32_t bits) {
#if defined(__CUDACC__)
  return __uint_as_float(bits);
#else
  float x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
#endif
}

// x, with every NaN as the same one: it is not kEmpty, and stays a NaN when it is rounded to TF32
// by hand (mma.h).
__device__ inline float with_canonical_nan(float x) { return x == x ? x : float_of(0x7fc00000u); }

// Between two polls. A GPU runs the other blocks meanwhile by itself; native/cuda_host has to be
// told.
__device__ inline void spin() {
#if !defined(__CUDACC__)
  __nanosleep(0);
#endif
}

// ---- Words that are kEmpty until they are published ---------------------------------------------

__device__ inline void publish(float* to, float x) {
#if defined(__CUDACC__)
  asm volatile("st.relaxed.gpu.global.f32 [%0], %1;" ::"l"(to), "f"(with_canonical_nan(x))
               : "memory");
#else
  *to = with_canonical_nan(x);
#endif
}

// What is there now, or zeros where it is not `wanted`; ready() says whether all of it has been
// published.
__device__ inline float poll(const float* from, bool wanted) {
#if defined(__CUDACC__)
  float x;
  asm volatile(
      "{ .reg .pred p; setp.ne.s32 p, %2, 0; mov.f32 %0, 0f00000000;"
      " @p ld.relaxed.gpu.global.f32 %0, [%1]; }"
      : "=&f"(x)
      : "l"(from), "r"(static_cast<int>(wanted))
      : "memory");
  return x;
#else
  return wanted ? *from : 0.0f;
#endif
}
__device__ inline float4 poll(const float4* from, bool wanted) {
#if defined(__CUDACC__)
  float4 x;
  asm volatile(
      "{ .reg .pred p; setp.ne.s32 p, %5, 0; mov.f32 %0, 0f00000000; mov.f32 %1, 0f00000000;"
      " mov.f32 %2, 0f00000000; mov.f32 %3, 0f00000000;"
      " @p ld.relaxed.gpu.global.v4.f32 {%0,%1,%2,%3}, [%4]; }"
      : "=&f"(x.x), "=&f"(x.y), "=&f"(x.z), "=&f"(x.w)
      : "l"(from), "r"(static_cast<int>(wanted))
      : "memory");
  return x;
#else
  return wanted ? *from : float4{};
#endif
}
__device__ inline bool ready(float x) { return bits_of(x) != kEmpty; }
__device__ inline bool ready(const float4& x) {
  return bits_of(x.x) != kEmpty && bits_of(x.y) != kEmpty && bits_of(x.z) != kEmpty &&
         bits_of(x.w) != kEmpty;
}

// ---- A count that one thread raises and others wait for -----------------------------------------

__device__ inline void publish(uint32_t* to, uint32_t count) {
#if defined(__CUDACC__)
  asm volatile("st.relaxed.gpu.global.u32 [%0], %1;" ::"l"(to), "r"(count) : "memory");
#else
  *to = count;
#endif
}
__device__ inline uint32_t poll(const uint32_t* from) {
#if defined(__CUDACC__)
  uint32_t count;
  asm volatile("ld.relaxed.gpu.global.u32 %0, [%1];" : "=r"(count) : "l"(from) : "memory");
  return count;
#else
  return *from;
#endif
}

// ---- Numbers with a tag -------------------------------------------------------------------------

using Tagged = uint64_t;
__device__ inline Tagged tagged(float x, uint32_t tag) {
  return static_cast<uint64_t>(tag) << 32 | bits_of(x);
}
__device__ inline uint32_t tag_of(Tagged x) { return static_cast<uint32_t>(x >> 32); }
__device__ inline float value_of(Tagged x) { return float_of(static_cast<uint32_t>(x)); }

// Two neighbours, the first at a multiple of 16 bytes. Each has its own tag, since only accesses of
// 8 bytes are whole.
struct alignas(16) TaggedPair {
  Tagged x, y;
};
// What is there now, or, where it is not `wanted`, zeros with that tag.
__device__ inline TaggedPair poll(const TaggedPair* from, bool wanted, uint32_t tag) {
#if defined(__CUDACC__)
  TaggedPair pair;
  asm volatile(
      "{ .reg .pred p; setp.ne.s32 p, %3, 0; mov.u64 %0, %4; mov.u64 %1, %4;"
      " @p ld.relaxed.gpu.global.v2.u64 {%0,%1}, [%2]; }"
      : "=&l"(pair.x), "=&l"(pair.y)
      : "l"(from), "r"(static_cast<int>(wanted)), "l"(tagged(0, tag))
      : "memory");
  return pair;
#else
  return wanted ? *from : TaggedPair{tagged(0, tag), tagged(0, tag)};
#endif
}
__device__ inline void publish(TaggedPair* to, float x, float y, uint32_t tag) {
#if defined(__CUDACC__)
  asm volatile("st.relaxed.gpu.global.v2.u64 [%0], {%1,%2};" ::"l"(to), "l"(tagged(x, tag)),
               "l"(tagged(y, tag))
               : "memory");
#else
  *to = {tagged(x, tag), tagged(y, tag)};
#endif
}
__device__ inline bool ready(const TaggedPair& pair, uint32_t tag) {
  return tag_of(pair.x) == tag && tag_of(pair.y) == tag;
}

}  // namespace fused_rnn::cuda
