// Operations whose indices are checked on the device. For .cu files.
#pragma once

#include "cuda/elements.h"
#include "cuda/reduce.h"

namespace fused_rnn::cuda {

// What indices have to be: in [lowest, limit), or equal to `ignored`.
struct IndexRange {
  const int32_t* index;  // [n]
  int64_t n, lowest, limit;
  int64_t ignored = INT64_MIN;

  __device__ bool holds(int64_t value) const {
    return (value >= lowest && value < limit) || value == ignored;
  }
};

// By one whole block: reports the first index that is out of range. `scratch`: shared, kWarp
// elements.
__device__ inline void check_indices(const IndexRange& range, FaultSite site, int64_t* scratch) {
  int64_t bad = range.n;
  for (int64_t i = threadIdx.x; i < range.n; i += blockDim.x) {
    if (!range.holds(range.index[i]) && i < bad) bad = i;
  }
  bad = block_reduce(bad, range.n, scratch, reduce::Smaller{});
  if (threadIdx.x == 0 && bad < range.n) {
    report_fault(site, bad, range.index[bad], range.limit);
  }
}

// f(i) for all i below n, which has to bear any index; the last block checks.
template <class F>
__global__ void __launch_bounds__(kBlock)
    each_checked_kernel(F f, int64_t n, IndexRange range, FaultSite site) {
  FUSED_RNN_SHARED(int64_t, scratch, kWarp);
  if (blockIdx.x == gridDim.x - 1) return check_indices(range, site, scratch);
  const int64_t stride = grid_stride() - blockDim.x;
  for (int64_t i = global_thread(); i < n; i += stride) f(i);
}

template <class F>
void each_checked(CudaDevice& device, int64_t n, F f, const IndexRange& range, FaultSite site) {
  dim3 grid = blocks_for(n);
  grid.x += 1;
  launch(each_checked_kernel<F>, grid, dim3(kBlock), 0, device.stream(), f, n, range, site);
}

}  // namespace fused_rnn::cuda
