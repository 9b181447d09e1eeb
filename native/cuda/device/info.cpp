// Which GPUs there are, and why there may be none.
#include <string>

#include "cuda/device/blas.h"
#include "cuda/device/device.h"

namespace fused_rnn {
namespace {

std::string version(int number) {
  return std::to_string(number / 1000) + "." + std::to_string(number % 1000 / 10);
}

// The oldest that CMakeLists.txt compiles for.
constexpr int kLowestMajor = 8;

std::string missing_of(const cudaDeviceProp& device) {
  if (device.major < kLowestMajor) {
    return "it has compute capability " + std::to_string(device.major) + "." +
           std::to_string(device.minor) + ", needs at least " + std::to_string(kLowestMajor) + ".0";
  }
  if (device.memoryPoolsSupported == 0) return "it has no memory pools (cudaMallocAsync)";
  return {};
}

CudaInfo query() {
  CudaInfo info;
  int driver = 0, runtime = 0, count = 0;
  cudaRuntimeGetVersion(&runtime);
  info.runtime = version(runtime);
  if (cudaDriverGetVersion(&driver) != cudaSuccess || driver == 0) {
    cudaGetLastError();
    info.missing = "no NVIDIA driver was found";
    return info;
  }
  info.driver = version(driver);
  // A driver serves every runtime of its own major version.
  const int needed = runtime / 1000 * 1000;
  if (driver < needed) {
    cudaGetLastError();
    info.missing = "found driver " + info.driver + ", needs at least " + version(needed);
    return info;
  }
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error != cudaSuccess || count == 0) {
    cudaGetLastError();
    info.missing = error == cudaSuccess || error == cudaErrorNoDevice
                       ? "no GPU was found"
                       : std::string("no GPU can be used: ") + cudaGetErrorString(error);
    return info;
  }
  info.missing = cuda::Blas::missing();
  if (!info.missing.empty()) return info;
  for (int i = 0; i < count; ++i) {
    cudaDeviceProp properties;
    if (cudaGetDeviceProperties(&properties, i) != cudaSuccess) {
      cudaGetLastError();
      break;
    }
    info.devices.push_back({properties.name, static_cast<int64_t>(properties.totalGlobalMem),
                            properties.major, properties.minor, properties.multiProcessorCount,
                            missing_of(properties)});
  }
  return info;
}

}  // namespace

const CudaInfo& cuda_info() {
  static const CudaInfo* const info = new CudaInfo(query());
  return *info;
}

std::string cublas_missing() { return cuda::Blas::missing(); }

std::shared_ptr<Device> open_cuda(int index) {
  const CudaInfo& info = cuda_info();
  if (index < 0 || static_cast<size_t>(index) >= info.devices.size()) {
    throw std::runtime_error(info.missing.empty() ? "no such GPU" : info.missing);
  }
  const CudaDeviceInfo& device = info.devices[static_cast<size_t>(index)];
  if (!device.missing.empty()) {
    throw std::runtime_error("cannot use " + device.name + ": " + device.missing);
  }
  return std::make_shared<cuda::CudaDevice>(index);
}

void set_cuda_precision(Device& device, CudaPrecision precision) {
  static_cast<cuda::CudaDevice&>(device).precision = precision;
}

}  // namespace fused_rnn
