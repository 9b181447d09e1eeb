// Functions of elements: out[i] = f(in[i]…), four elements a thread, 16 bytes at a time, where the
// arrays allow it. For .cu files.
#pragma once

#include "cuda/device/device.h"

namespace fused_rnn::cuda {

template <class T>
struct alignas(4 * sizeof(T)) Four {
  T x[4];
};

inline bool aligned16(const void* pointer) {
  return reinterpret_cast<uintptr_t>(pointer) % 16 == 0;
}

template <class Out, class F, class... In>
__device__ inline Four<Out> map_four(F f, Four<In>... in) {
  Four<Out> out;
  for (int k = 0; k < 4; ++k) out.x[k] = f(in.x[k]...);
  return out;
}

// The first 4 * fours elements in fours, the others one by one.
template <class F, class Out, class... In>
__global__ void __launch_bounds__(kBlock)
    map_kernel(F f, int64_t fours, int64_t n, Out* out, const In*... in) {
  for (int64_t i = global_thread(); i < fours; i += grid_stride()) {
    reinterpret_cast<Four<Out>*>(out)[i] =
        map_four<Out>(f, reinterpret_cast<const Four<In>*>(in)[i]...);
  }
  for (int64_t i = 4 * fours + global_thread(); i < n; i += grid_stride()) out[i] = f(in[i]...);
}

// out may be one of the inputs.
template <class F, class Out, class... In>
void map(CudaDevice& device, int64_t n, F f, Out* out, const In*... in) {
  const bool all = aligned16(out) && (aligned16(in) && ...);
  const int64_t fours = all ? n / 4 : 0;
  launch(map_kernel<F, Out, In...>, blocks_for(std::max(fours, n - 4 * fours)), dim3(kBlock), 0,
         device.stream(), f, fours, n, out, in...);
}

// f(i) for all i below n.
template <class F>
__global__ void __launch_bounds__(kBlock) each_kernel(F f, int64_t n) {
  for (int64_t i = global_thread(); i < n; i += grid_stride()) f(i);
}

template <class F>
void each(CudaDevice& device, int64_t n, F f) {
  launch(each_kernel<F>, blocks_for(n), dim3(kBlock), 0, device.stream(), f, n);
}

// i / by and what is left, in 32 bits where `small`: a division of 64 bits takes four times as
// long.
struct Divided {
  int64_t quotient, rest;
};
__device__ inline Divided divide(int64_t i, int64_t by, bool small) {
  if (small) {
    const auto quotient = static_cast<uint32_t>(i) / static_cast<uint32_t>(by);
    return {quotient, static_cast<uint32_t>(i) - quotient * static_cast<uint32_t>(by)};
  }
  const int64_t quotient = i / by;
  return {quotient, i - quotient * by};
}

// Whether divide() of numbers below n may be small.
inline bool small_numbers(int64_t n) { return n <= int64_t{0xffffffff}; }

}  // namespace fused_rnn::cuda
