#include "cuda/device/device.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <mutex>
#include <stdexcept>
#include <thread>
#include <vector>

#include "cuda/device/faults.h"
#include "cuda/device/graphs.h"
#include "cuda/device/staging.h"

namespace fused_rnn::cuda {

void check(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  cudaGetLastError();  // an error that leaves the device usable is over with this report
  throw std::runtime_error(std::string(what) + ": " + cudaGetErrorString(error));
}

namespace {

constexpr int kMostDevices = 64;

// What all environments of the process use of a device, for memory_stats().
struct Use {
  std::atomic<size_t> live{0}, peak{0}, blocks{0};

  void add(size_t bytes) {
    const size_t now = live.fetch_add(bytes) + bytes;
    blocks += 1;
    size_t most = peak.load();
    while (now > most && !peak.compare_exchange_weak(most, now)) {
    }
  }
  void remove(size_t bytes) {
    live -= bytes;
    blocks -= 1;
  }
};
std::array<Use, kMostDevices> uses;

// The runtime has a current device for each thread, and any thread may free memory.
class OnDevice {
 public:
  explicit OnDevice(int index) {
    cudaGetDevice(&before_);
    if (before_ != index)
      cudaSetDevice(index);
    else
      before_ = -1;
  }
  ~OnDevice() {
    if (before_ >= 0) cudaSetDevice(before_);
  }

 private:
  int before_ = -1;
};

}  // namespace

// Memory that other threads than the queue's have given up. Only the queue's thread may give work
// to the stream, which may be recording a graph.
struct CudaDevice::Garbage {
  std::atomic<std::thread::id> worker{};
  std::atomic<bool> any{false};
  std::mutex mutex;
  std::vector<void*> blocks;
  std::vector<std::shared_ptr<void>> owners;  // of memory that is not from the pool
};

CudaDevice::CudaDevice(int index) : name_("cuda:" + std::to_string(index)), index_(index) {
  if (index < 0 || index >= kMostDevices) throw std::runtime_error("no such device: " + name_);
  try {
    open();
  } catch (...) {
    close();
    throw;
  }
}

CudaDevice::~CudaDevice() {
  const OnDevice here(index_);
  free_garbage();
  cudaStreamSynchronize(stream_);
  close();
}

void CudaDevice::open() {
  check(cudaSetDevice(index_), "cudaSetDevice");
  int together = 0, clusters = 0;
  check(cudaDeviceGetAttribute(&together, cudaDevAttrCooperativeLaunch, index_),
        "cudaDeviceGetAttribute");
  check(cudaDeviceGetAttribute(&clusters, cudaDevAttrClusterLaunch, index_),
        "cudaDeviceGetAttribute");
  has_clusters_ = clusters != 0;
  if (together != 0) {
    check(cudaDeviceGetAttribute(&multiprocessors_, cudaDevAttrMultiProcessorCount, index_),
          "cudaDeviceGetAttribute");
  }
  check(cudaDeviceGetAttribute(&cache_bytes_, cudaDevAttrL2CacheSize, index_),
        "cudaDeviceGetAttribute");
  // The pool keeps what it has: a training step asks for the same sizes again.
  cudaMemPool_t pool;
  check(cudaDeviceGetDefaultMemPool(&pool, index_), "cudaDeviceGetDefaultMemPool");
  uint64_t everything = UINT64_MAX;
  check(cudaMemPoolSetAttribute(pool, cudaMemPoolAttrReleaseThreshold, &everything),
        "cudaMemPoolSetAttribute");
  check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "cudaStreamCreate");
  for (cudaStream_t& stream : side_streams_) {
    check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "cudaStreamCreate");
  }
  check(cudaEventCreateWithFlags(&order_event_, cudaEventDisableTiming), "cudaEventCreate");
  check(cudaMalloc(&fault_flag_, sizeof *fault_flag_), "cudaMalloc");
  check(cudaMemsetAsync(fault_flag_, 0, sizeof *fault_flag_, stream_), "cudaMemset");
  staging_ = std::make_unique<Staging>();
  faults_ = std::make_unique<Faults>();
  graphs_ = std::make_unique<GraphCache>();
  garbage_ = std::make_unique<Garbage>();
}

void CudaDevice::close() noexcept {
  graphs_.reset();
  for (auto& blas : blas_) blas.reset();
  staging_.reset();
  faults_.reset();
  if (fault_flag_ != nullptr) cudaFree(fault_flag_);
  if (order_event_ != nullptr) cudaEventDestroy(order_event_);
  for (cudaStream_t stream : side_streams_) {
    if (stream != nullptr) cudaStreamDestroy(stream);
  }
  if (stream_ != nullptr) cudaStreamDestroy(stream_);
  cudaGetLastError();
}

// ---- Memory ------------------------------------------------------------------------------------

void* CudaDevice::allocate(size_t bytes) {
  const OnDevice here(index_);
  free_garbage();
  void* data = nullptr;
  // An empty tensor has an address, too.
  const size_t size = std::max<size_t>(bytes, 16);
  cudaError_t error = cudaMallocAsync(&data, size, stream_);
  if (error == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    give_back_unused();
    error = cudaMallocAsync(&data, size, stream_);
  }
  if (error == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    throw std::runtime_error("out of memory on " + name_ + ": could not allocate " +
                             std::to_string(bytes) + " bytes (" + memory_text() + ")");
  }
  check(error, "cudaMallocAsync");
  uses[static_cast<size_t>(index_)].add(bytes);
  return data;
}

// What the pool keeps, and what is still to be freed, so that others than the pool can have it, or
// the pool in another size.
void CudaDevice::give_back_unused() {
  cudaMemPool_t pool;
  check(cudaStreamSynchronize(stream_), "cudaStreamSynchronize");
  check(cudaDeviceGetDefaultMemPool(&pool, index_), "cudaDeviceGetDefaultMemPool");
  check(cudaMemPoolTrimTo(pool, 0), "cudaMemPoolTrimTo");
}

std::string CudaDevice::memory_text() const {
  size_t free = 0, total = 0;
  if (cudaMemGetInfo(&free, &total) != cudaSuccess) cudaGetLastError();
  const size_t live = uses[static_cast<size_t>(index_)].live;
  return std::to_string(free) + " free of " + std::to_string(total) + ", " + std::to_string(live) +
         " in use here";
}

void CudaDevice::free(void* data, size_t bytes) noexcept {
  uses[static_cast<size_t>(index_)].remove(bytes);
  const std::thread::id worker = garbage_->worker;
  if (worker != std::thread::id{} && worker != std::this_thread::get_id()) {
    std::lock_guard lock(garbage_->mutex);
    garbage_->blocks.push_back(data);
    garbage_->any = true;
    return;
  }
  const OnDevice here(index_);
  if (cudaFreeAsync(data, stream_) != cudaSuccess) cudaGetLastError();
}

void CudaDevice::free_garbage() noexcept {
  if (!garbage_->any) return;
  std::lock_guard lock(garbage_->mutex);
  for (void* data : garbage_->blocks) {
    if (cudaFreeAsync(data, stream_) != cudaSuccess) cudaGetLastError();
  }
  garbage_->blocks.clear();
  garbage_->any = false;
}

void CudaDevice::release_later(std::shared_ptr<void> owner) noexcept {
  {
    std::lock_guard lock(garbage_->mutex);
    if (garbage_->worker.load() != std::thread::id{}) {
      garbage_->owners.push_back(std::move(owner));
      return;
    }
  }
  // Nobody will wait any more. What the owner keeps may be memory of this device.
  const OnDevice here(index_);
  if (cudaStreamSynchronize(stream_) != cudaSuccess) cudaGetLastError();
}

MemoryStats CudaDevice::memory_stats() const {
  const Use& use = uses[static_cast<size_t>(index_)];
  const size_t live = use.live;
  uint64_t reserved = 0;
  cudaMemPool_t pool;
  if (cudaDeviceGetDefaultMemPool(&pool, index_) != cudaSuccess ||
      cudaMemPoolGetAttribute(pool, cudaMemPoolAttrReservedMemCurrent, &reserved) != cudaSuccess) {
    cudaGetLastError();
  }
  return {live, use.peak, std::max<size_t>(reserved, live) - live, use.blocks};
}

void CudaDevice::upload(void* to, const void* from, size_t bytes) {
  staging_->upload(to, from, bytes, stream_);
}
void CudaDevice::download(void* to, const void* from, size_t bytes) {
  staging_->download(to, from, bytes, stream_);
}

// ---- Order -------------------------------------------------------------------------------------

void CudaDevice::enter_thread() {
  check(cudaSetDevice(index_), "cudaSetDevice");
  garbage_->worker = std::this_thread::get_id();
}
void CudaDevice::leave_thread() noexcept {
  std::vector<std::shared_ptr<void>> owners;  // given up at the end
  {
    std::lock_guard lock(garbage_->mutex);
    garbage_->worker = std::thread::id{};
    owners.swap(garbage_->owners);
  }
  free_garbage();
  nccl.reset();
  if (cudaStreamSynchronize(stream_) != cudaSuccess) cudaGetLastError();
}

void CudaDevice::wait() {
  free_garbage();
  std::vector<std::shared_ptr<void>> owners;  // given up at the end
  {
    std::lock_guard lock(garbage_->mutex);
    owners.swap(garbage_->owners);
  }
  check(cudaStreamSynchronize(stream_), "cudaStreamSynchronize");
  faults_->forget_unless_reported();
}

void CudaDevice::order(cudaStream_t from, cudaStream_t to) {
  // The wait is for the event as it was recorded last, so that one event serves them all.
  check(cudaEventRecord(order_event_, from), "cudaEventRecord");
  check(cudaStreamWaitEvent(to, order_event_, 0), "cudaStreamWaitEvent");
}

void SideWork::fork() {
  forked_ = true;
  for (int i = 0; i < count_; ++i) device_.order(device_.stream(), device_.side_stream(first_ + i));
}

void SideWork::join() {
  for (int i = 0; i < count_; ++i) device_.order(device_.side_stream(first_ + i), device_.stream());
  forked_ = false;
}

SideWork::~SideWork() {
  if (!forked_) return;
  try {
    join();
  } catch (const std::exception&) {
    // Then by waiting, which fails where the device is lost, or nothing has been queued but
    // recorded.
    for (int i = 0; i < count_; ++i) {
      if (cudaStreamSynchronize(device_.side_stream(first_ + i)) != cudaSuccess) cudaGetLastError();
    }
  }
}

// ---- Products ----------------------------------------------------------------------------------

Blas& CudaDevice::blas(int i) {
  auto& blas = blas_[i + 1];
  if (blas != nullptr) return *blas;
  try {
    blas = std::make_unique<Blas>();
  } catch (const std::runtime_error&) {
    // It takes memory beside the pool, which may have all of it.
    give_back_unused();
    try {
      blas = std::make_unique<Blas>();
    } catch (const std::runtime_error& e) {
      throw std::runtime_error("no cuBLAS on " + name_ + ": " + e.what() + " (" + memory_text() +
                               ")");
    }
  }
  return *blas;
}

void CudaDevice::multiply(const Product& product, Fp32Precision precision) {
  blas().multiply(product, precision, stream_);
}

// ---- Faults ------------------------------------------------------------------------------------

void CudaDevice::begin_job(uint64_t number) {
  free_garbage();
  faults_->begin_job(number);
}

FaultSite CudaDevice::index_site(const char* op, const char* name) {
  return faults_->add(op, name, Faults::Kind::index, fault_flag_);
}
FaultSite CudaDevice::text_site(const char* op, const char* text) {
  return faults_->add(op, text, Faults::Kind::text, fault_flag_);
}
FaultSite CudaDevice::finite_site() {
  return faults_->add("", "", Faults::Kind::finite, fault_flag_);
}

std::optional<DeviceFault> CudaDevice::take_fault() { return faults_->take(stream_, fault_flag_); }

}  // namespace fused_rnn::cuda
