#include "cuda/device/device.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <mutex>
#include <stdexcept>
#include <thread>
#include <vector>

#include "core/failure.h"
#include "core/job_log.h"
#include "cuda/device/graphs.h"

namespace fused_rnn::cuda {

void check(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  cudaGetLastError();  // an error that leaves the device usable is over with this report
  throw std::runtime_error(std::string(what) + ": " + cudaGetErrorString(error));
}

namespace {

constexpr int kMostDevices = 64;

// All environments' use of a device, for the figures.
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

// The runtime's current device is a matter of the thread, and memory is freed by any.
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

// Pinned memory between the script's arrays and the device: pieces that are used in turn.
struct CudaDevice::Staging {
  static constexpr size_t kPieceBytes = size_t{1} << 20;
  static constexpr int kPieces = 4;

  struct Piece {
    void* data = nullptr;
    cudaEvent_t copied = nullptr;
  };
  Piece pieces[kPieces];
  int next = 0;

  Staging() {
    for (Piece& piece : pieces) {
      check(cudaHostAlloc(&piece.data, kPieceBytes, cudaHostAllocDefault), "cudaHostAlloc");
      check(cudaEventCreateWithFlags(&piece.copied, cudaEventDisableTiming), "cudaEventCreate");
    }
  }
  ~Staging() {
    for (Piece& piece : pieces) {
      if (piece.data != nullptr) cudaFreeHost(piece.data);
      if (piece.copied != nullptr) cudaEventDestroy(piece.copied);
    }
  }

  // The next piece, once the device has read what was in it.
  Piece& take() {
    Piece& piece = pieces[next];
    next = (next + 1) % kPieces;
    check(cudaEventSynchronize(piece.copied), "cudaEventSynchronize");
    return piece;
  }
};

// Memory that other threads than the queue's have given up. That one alone gives work to the
// stream, which may be recording a graph.
struct CudaDevice::Garbage {
  std::atomic<std::thread::id> worker{};
  std::atomic<bool> any{false};
  std::mutex mutex;
  std::vector<void*> blocks;
  std::vector<std::shared_ptr<void>> owners;  // of memory that is not from the pool
};

// Who may report a fault, each with a record of its own, since the last wait.
struct CudaDevice::Faults {
  static constexpr size_t kSites = 2 * JobLog::kLimit;  // an operation has two at most

  enum class Kind { index, text, finite };
  struct Site {
    uint64_t job;
    std::string op;
    std::string name;  // or the text
    Kind kind;
  };
  // Pinned, and as the device addresses it.
  struct Shared {
    unsigned any;
    FaultRecord records[kSites];
  };
  Shared* shared = nullptr;
  Shared* for_device = nullptr;
  uint64_t job = 0;
  std::vector<Site> sites;

  Faults() {
    check(cudaHostAlloc(&shared, sizeof(Shared), cudaHostAllocMapped | cudaHostAllocPortable),
          "cudaHostAlloc");
    std::memset(static_cast<void*>(shared), 0, sizeof(Shared));
    check(cudaHostGetDevicePointer(&for_device, shared, 0), "cudaHostGetDevicePointer");
  }
  ~Faults() { cudaFreeHost(shared); }

  FaultSite add(const char* op, const char* name, Kind kind, unsigned* flag) {
    if (sites.size() == kSites) throw std::runtime_error("too many operations without a wait");
    sites.push_back({job, op, name, kind});
    return {&for_device->records[sites.size() - 1], &for_device->any, flag};
  }
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
  for (size_t at = 0; at < bytes; at += Staging::kPieceBytes) {
    const size_t count = std::min(Staging::kPieceBytes, bytes - at);
    Staging::Piece& piece = staging_->take();
    std::memcpy(piece.data, static_cast<const char*>(from) + at, count);
    check(cudaMemcpyAsync(static_cast<char*>(to) + at, piece.data, count, cudaMemcpyHostToDevice,
                          stream_),
          "cudaMemcpyAsync");
    check(cudaEventRecord(piece.copied, stream_), "cudaEventRecord");
  }
}

void CudaDevice::download(void* to, const void* from, size_t bytes) {
  // Each piece is copied out while the next one is on its way.
  size_t done = 0, size_before = 0;
  Staging::Piece* before = nullptr;
  const auto take_out = [&] {
    if (before == nullptr) return;
    check(cudaEventSynchronize(before->copied), "cudaEventSynchronize");
    std::memcpy(static_cast<char*>(to) + done, before->data, size_before);
    done += size_before;
  };
  for (size_t at = 0; at < bytes; at += Staging::kPieceBytes) {
    const size_t count = std::min(Staging::kPieceBytes, bytes - at);
    Staging::Piece& piece = staging_->take();
    check(cudaMemcpyAsync(piece.data, static_cast<const char*>(from) + at, count,
                          cudaMemcpyDeviceToHost, stream_),
          "cudaMemcpyAsync");
    check(cudaEventRecord(piece.copied, stream_), "cudaEventRecord");
    take_out();
    before = &piece;
    size_before = count;
  }
  take_out();
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
  // Nobody reports any more, so without a fault all sites are free again.
  if (faults_->shared->any == 0) faults_->sites.clear();
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
  faults_->job = number;
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

std::optional<DeviceFault> CudaDevice::take_fault() {
  Faults& faults = *faults_;
  if (*const_cast<const volatile unsigned*>(&faults.shared->any) == 0) return std::nullopt;
  // Others may be about to report, too: after this wait all are known.
  check(cudaStreamSynchronize(stream_), "cudaStreamSynchronize");
  for (size_t i = 0; i < faults.sites.size(); ++i) {
    FaultRecord& record = faults.shared->records[i];
    if (record.set == 0) continue;
    const Faults::Site& site = faults.sites[i];
    record.set = 0;
    const auto message = [&]() -> std::string {
      switch (site.kind) {
        case Faults::Kind::index:
          return index_message(site.op.c_str(), site.name.c_str(), record.position, record.value,
                               record.limit);
        case Faults::Kind::finite:
          return finite_message(record.limit, record.position, record.value != 0);
        default:
          return "[" + site.op + "] " + site.name;
      }
    };
    return DeviceFault{site.job, message()};
  }
  faults.shared->any = 0;
  faults.sites.clear();
  check(cudaMemsetAsync(fault_flag_, 0, sizeof *fault_flag_, stream_), "cudaMemset");
  return std::nullopt;
}

}  // namespace fused_rnn::cuda
