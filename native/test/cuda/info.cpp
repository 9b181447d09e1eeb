// Says what GPUs there are, or why there are none: what scripts/check-cuda.sh runs to see that
// native/cuda, as it was linked, loads on a machine without a driver.
#include <cstdio>

#include "ops/cuda.h"

int main() {
  const fused_rnn::CudaInfo& info = fused_rnn::cuda_info();
  for (const auto& device : info.devices) {
    std::printf("%s, %d.%d, %lld bytes\n", device.name.c_str(), device.major, device.minor,
                static_cast<long long>(device.memory_bytes));
  }
  if (info.devices.empty()) std::printf("none: %s\n", info.missing.c_str());
  // Nor may one be empty without the other.
  return info.devices.empty() == info.missing.empty() ? 1 : 0;
}
