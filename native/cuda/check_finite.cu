// Whether all numbers of many tensors are finite; the first tensor with one that is not is reported
// (device/fault.h).
#include "core/empty_mean.h"
#include "cuda/many_tensors.h"
#include "cuda/ops.h"
#include "cuda/reduce.h"

namespace fused_rnn::cuda {
namespace {

struct Checked {
  int64_t n;
  const float* data;
  int64_t number;  // of the tensor
};

// The key of a number that is not finite is that of its tensor, then NaN before infinity: a tensor
// with both is reported as having NaN. A finite number has this one:
constexpr int64_t kNothingBad = INT64_MAX;
__device__ int64_t bad_key(int64_t tensor, bool nan) { return 2 * tensor + (nan ? 0 : 1); }

// parts[block] = the key of one chunk's worst number
__global__ void __launch_bounds__(kBlock) finite_kernel(Tensors<Checked> all, int64_t* parts) {
  FUSED_RNN_SHARED(int64_t, scratch, kWarp);
  const auto chunk = all.chunk_of(blockIdx.x);
  const Checked& tensor = all.tensors[chunk.tensor];
  const int64_t n = min(kChunk, tensor.n - chunk.begin);
  int64_t bad = kNothingBad;
  for (int64_t i = threadIdx.x; i < n; i += kBlock) {
    const float x = tensor.data[chunk.begin + i];
    const bool no_loss = tensor.number == 0 && tensor.n == 1 && is_empty_mean(x);
    if (x - x != 0 && !no_loss) bad = min(bad, bad_key(tensor.number, x != x));
  }
  bad = block_reduce(bad, kNothingBad, scratch, reduce::Smaller{});
  if (threadIdx.x == 0) parts[blockIdx.x] = bad;
}

__global__ void __launch_bounds__(kBlock)
    finite_report(const int64_t* parts, int64_t n, int64_t number, FaultSite site) {
  FUSED_RNN_SHARED(int64_t, scratch, kWarp);
  int64_t bad = kNothingBad;
  for (int64_t i = threadIdx.x; i < n; i += kBlock) bad = min(bad, parts[i]);
  bad = block_reduce(bad, kNothingBad, scratch, reduce::Smaller{});
  if (threadIdx.x == 0 && bad != kNothingBad) report_fault(site, bad / 2, 1 - bad % 2, number);
}

}  // namespace

void check_finite(const CheckFiniteArgs& args, Context& context) {
  CudaDevice& device = device_of(context);
  int64_t blocks = 0;
  for (int64_t k = 0; k < args.count; ++k) blocks += (args.sizes[k] + kChunk - 1) / kChunk;
  if (blocks == 0) return;
  DeviceScratch scratch(device, 2 * blocks);
  auto* parts = reinterpret_cast<int64_t*>(scratch.data());
  const auto tensor = [&](int64_t k) { return Checked{args.sizes[k], args.tensors[k], k}; };
  each_launch<Checked>(args.count, tensor,
                       [&](const Tensors<Checked>& some, int64_t n, int64_t first) {
                         launch(finite_kernel, dim3(static_cast<unsigned>(n)), dim3(kBlock), 0,
                                device.stream(), some, parts + first);
                       });
  launch(finite_report, dim3(1), dim3(kBlock), 0, device.stream(), parts, blocks, args.number,
         device.finite_site());
}

}  // namespace fused_rnn::cuda
