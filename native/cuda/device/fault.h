// How a kernel says that it met bad values: an index out of range, a NaN among logits. The record
// is read by the host at the next wait; until then, what is computed from the outputs is of no
// value, and operations that change memory in place do nothing.
#pragma once

#include "cuda/device/runtime.h"

namespace fused_rnn::cuda {

// In pinned host memory, written by the device.
struct FaultRecord {
  unsigned set;  // not 0 once there is one
  int64_t position, value, limit;
};

// What a kernel gets, by value.
struct FaultSite {
  FaultRecord* record;  // of this site alone
  unsigned* any;        // pinned: not 0 once some site has reported
  unsigned* flag;       // the same in device memory
};

#if defined(__CUDACC__) || defined(FUSED_RNN_CUDA_HOST)
// By one thread of one block for a site: which of several bad values is reported has to be the same
// each time.
__device__ inline void report_fault(FaultSite site, int64_t position, int64_t value,
                                    int64_t limit) {
  site.record->position = position;
  site.record->value = value;
  site.record->limit = limit;
  __threadfence_system();
  site.record->set = 1;
  __threadfence_system();
  *site.any = 1;
  atomicExch(site.flag, 1u);
}
#endif

}  // namespace fused_rnn::cuda
