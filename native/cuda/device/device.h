// One GPU as one environment uses it: streams, memory, cuBLAS, captured graphs, faults.
#pragma once

#include <memory>
#include <set>
#include <string>

#include "core/context.h"
#include "core/device.h"
#include "cuda/device/blas.h"
#include "cuda/device/fault.h"
#include "cuda/device/nccl.h"
#include "cuda/device/runtime.h"

namespace fused_rnn::cuda {

class Faults;      // faults.h
class GraphCache;  // graphs.h
class Staging;     // staging.h

class CudaDevice : public Device {
 public:
  explicit CudaDevice(int index);
  ~CudaDevice() override;

  const std::string& name() const override { return name_; }
  void* allocate(size_t bytes) override;
  void free(void* data, size_t bytes) noexcept override;
  MemoryStats memory_stats() const override;
  void release_later(std::shared_ptr<void> owner) noexcept override;
  void upload(void* to, const void* from, size_t bytes) override;
  void download(void* to, const void* from, size_t bytes) override;
  void begin_job(uint64_t number) override;
  void wait() override;
  std::optional<DeviceFault> take_fault() override;
  void enter_thread() override;
  void leave_thread() noexcept override;

  // Where blocks may wait for each other (cooperative.h); 0 if they may not.
  int multiprocessors() const { return multiprocessors_; }
  // Of the cache that all multiprocessors share.
  int64_t cache_bytes() const { return cache_bytes_; }
  bool has_clusters() const { return has_clusters_; }  // clusters.h

  // ---- For the operations, on the queue's thread ----

  // Work is in the order of this stream. What runs on others is forked from it and joined to it.
  cudaStream_t stream() const { return stream_; }
  // Streams of its own for what can run side by side; 0 <= i < kSideStreams.
  static constexpr int kSideStreams = 4;
  cudaStream_t side_stream(int i) const { return side_streams_[i]; }
  // `to` goes on only after what `from` has been given so far.
  void order(cudaStream_t from, cudaStream_t to);

  // c = … on the main stream.
  void multiply(const Product& product, Fp32Precision precision);
  // The handle for products on stream `i` of side_stream(), or, for -1, on the main one.
  Blas& blas(int i = -1);
  CudaPrecision precision;

  // Where kernels of this job may report a fault: what index_message() says of these names
  // (core/failure.h), or "[op] text".
  FaultSite index_site(const char* op, const char* name);
  FaultSite text_site(const char* op, const char* text);
  // Reports (tensor, whether NaN, number) of finite_message().
  FaultSite finite_site();
  // Device memory, not 0 once there is a fault.
  const unsigned* fault_flag() const { return fault_flag_; }

  GraphCache& graphs() { return *graphs_; }

  // Kernels of launch_together() that this device has refused (cooperative.h): they are not tried
  // again.
  std::set<const void*> refused;

  // Among the GPUs of other processes; null: alone.
  std::unique_ptr<Nccl> nccl;

 private:
  struct Garbage;

  void open();
  void close() noexcept;
  void free_garbage() noexcept;
  void give_back_unused();
  std::string memory_text() const;

  std::string name_;
  int index_;
  int multiprocessors_ = 0, cache_bytes_ = 0;
  bool has_clusters_ = false;
  cudaStream_t stream_ = nullptr;
  cudaStream_t side_streams_[kSideStreams] = {};
  cudaEvent_t order_event_ = nullptr;
  unsigned* fault_flag_ = nullptr;
  std::unique_ptr<Staging> staging_;
  std::unique_ptr<Faults> faults_;
  std::unique_ptr<Garbage> garbage_;
  std::unique_ptr<Blas> blas_[kSideStreams + 1];
  std::unique_ptr<GraphCache> graphs_;
};

// Side streams [first, first + count) at work beside the main one. They are joined again in any
// case: what an operation that has failed had queued on them may still use memory, which is freed
// in the order of the main stream.
class SideWork {
 public:
  SideWork(CudaDevice& device, int first, int count = 1)
      : device_(device), first_(first), count_(count) {}
  ~SideWork();
  SideWork(const SideWork&) = delete;
  SideWork& operator=(const SideWork&) = delete;

  // They go on after what the main stream has been given so far.
  void fork();
  // The main stream goes on after what they have been given.
  void join();

 private:
  CudaDevice& device_;
  int first_, count_;
  bool forked_ = false;
};

inline CudaDevice& device_of(const Context& context) {
  return static_cast<CudaDevice&>(*context.device);
}

// Temporary device memory for the duration of one operation.
class DeviceScratch {
 public:
  DeviceScratch(CudaDevice& device, int64_t floats)
      : device_(device),
        bytes_(static_cast<size_t>(floats) * sizeof(float)),
        data_(floats > 0 ? static_cast<float*>(device.allocate(bytes_)) : nullptr) {}
  ~DeviceScratch() {
    if (data_ != nullptr) device_.free(data_, bytes_);
  }
  DeviceScratch(const DeviceScratch&) = delete;
  DeviceScratch& operator=(const DeviceScratch&) = delete;
  float* data() const { return data_; }

 private:
  CudaDevice& device_;
  size_t bytes_;
  float* data_;
};

}  // namespace fused_rnn::cuda
