// Stands in for native/cuda where CUDA was not built.
#include <stdexcept>

#include "ops/cuda.h"

namespace fused_rnn {
namespace {

[[noreturn]] void refuse() { throw std::runtime_error(cuda_info().missing); }

}  // namespace

const CudaInfo& cuda_info() {
  static const CudaInfo* const info = new CudaInfo{{}, "fused-rnn was built without CUDA", "", ""};
  return *info;
}

std::string cublas_missing() { return cuda_info().missing; }

std::shared_ptr<Device> open_cuda(int) { refuse(); }
void set_cuda_precision(Device&, CudaPrecision) { refuse(); }
const Backend& cuda_backend() { refuse(); }

std::string nccl_missing() { return cuda_info().missing; }
std::string nccl_new_id() { refuse(); }
NcclProgress nccl_join(Device&, const std::string&, int, int) { refuse(); }
void nccl_leave(Device&) { refuse(); }
void nccl_start(Device&, uint64_t, const Collective&) { refuse(); }
void nccl_finish(Device&, uint64_t) { refuse(); }

}  // namespace fused_rnn
