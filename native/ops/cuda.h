// The GPUs. Implemented by native/cuda, or by native/no_cuda where CUDA was not built.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/device.h"
#include "ops/backend.h"
#include "ops/collective.h"

namespace fused_rnn {

struct CudaDeviceInfo {
  std::string name;  // "NVIDIA H200"
  int64_t memory_bytes;
  int major, minor;  // compute capability
  int multiprocessors;
  // Why open_cuda() refuses it; empty if it does not.
  std::string missing;
};

struct CudaInfo {
  std::vector<CudaDeviceInfo> devices;
  // Why there are none, for messages: "fused-rnn was built without CUDA", "no NVIDIA driver was
  // found", "found driver 12.2, needs at least 13.0", "cuBLAS was not found: …". Empty if there
  // are.
  std::string missing;
  // As "13.0": of the CUDA runtime inside, empty where CUDA was not built, and of the newest that
  // the driver serves, empty where there is no driver.
  std::string runtime, driver;
};

// Never throws and never needs a driver. Asked once per process.
const CudaInfo& cuda_info();

// Why cuBLAS cannot be used; empty when it can. Opens it, driver or not.
std::string cublas_missing();

// What the products of float32 matrices are computed in: float32; its first 10 bits of fraction
// (tensor cores); or bfloat16. Sums are float32 always.
enum class Fp32Precision : int32_t { ieee, tf32, bf16 };
struct CudaPrecision {
  Fp32Precision matmul = Fp32Precision::ieee;  // matmul, linear
  Fp32Precision rnn = Fp32Precision::tf32;     // recurrent layers
};

// A stream of its own on GPU `index`. Throws std::runtime_error when that is not there.
std::shared_ptr<Device> open_cuda(int index);
// For the jobs that begin from now on; on the queue's thread.
void set_cuda_precision(Device& device, CudaPrecision precision);

// ---- NCCL: collectives between the GPUs of several processes

// Why it cannot be used; empty when it can. Opens it, driver or not.
std::string nccl_missing();
// What one process makes and all of them join with: 128 bytes.
std::string nccl_new_id();
// The following on the queue's thread. nccl_start() begins what is to come after everything that
// the device has been given so far, in memory of the device, and what the device is given meanwhile
// runs beside it until nccl_finish() of the same number.
// nccl_join() returns what says which collective the GPU waits in.
NcclProgress nccl_join(Device& device, const std::string& id, int rank, int size);
void nccl_leave(Device& device);
void nccl_start(Device& device, uint64_t number, const Collective& collective);
void nccl_finish(Device& device, uint64_t number);

// Its operations take a Context whose device is one of open_cuda(), pointers to its memory, and
// host pointers where ops.h says "host memory" or a pointer is to pointers or structs.
const Backend& cuda_backend();

}  // namespace fused_rnn
