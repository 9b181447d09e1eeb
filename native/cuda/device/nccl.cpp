#include "cuda/device/nccl.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <stdexcept>

#include "cuda/device/device.h"
#include "ops/cuda.h"

namespace fused_rnn {
namespace cuda {
namespace {

constexpr auto kBetweenLooks = std::chrono::milliseconds(100);

constexpr int kOps[] = {kNcclSum, kNcclMin, kNcclMax, kNcclProduct};  // by Reduce

const NcclApi& api() {
  std::string why;
  const NcclApi* found = nccl_api(why);
  if (found == nullptr) throw std::runtime_error(why);
  return *found;
}

}  // namespace

NcclQueue::NcclQueue() { cuda::check(cudaGetDevice(&device_), "cudaGetDevice"); }

NcclQueue::~NcclQueue() {
  close();
  for (const Entry& entry : entries_) spare_.push_back(entry.events);
  for (const Events& events : spare_) {
    cudaEventDestroy(events.begun);
    cudaEventDestroy(events.ended);
  }
}

NcclQueue::Events NcclQueue::take() {
  {
    std::lock_guard lock(mutex_);
    if (!spare_.empty()) {
      const Events events = spare_.back();
      spare_.pop_back();
      return events;
    }
  }
  Events events;
  cuda::check(cudaEventCreateWithFlags(&events.begun, cudaEventDisableTiming), "cudaEventCreate");
  cuda::check(cudaEventCreateWithFlags(&events.ended, cudaEventDisableTiming), "cudaEventCreate");
  return events;
}

void NcclQueue::push(uint64_t number, const Collective& collective, Events events) {
  std::lock_guard lock(mutex_);
  entries_.push_back({number, collective, events});
  if (!thread_.joinable()) thread_ = std::thread([this] { work(); });
  changed_.notify_all();
}

void NcclQueue::release(uint64_t number) {
  std::lock_guard lock(mutex_);
  for (Entry& entry : entries_) entry.released |= entry.number == number;
}

std::optional<NcclWait> NcclQueue::waiting() {
  std::lock_guard lock(mutex_);
  if (closed_ || !(begun_ || asking_)) return std::nullopt;
  for (const Entry& entry : entries_) {
    if (!entry.over) return NcclWait{entry.number, entry.collective};
  }
  return std::nullopt;
}

void NcclQueue::close() {
  {
    std::lock_guard lock(mutex_);
    closed_ = true;
    changed_.notify_all();
  }
  if (thread_.joinable()) thread_.join();
}

void NcclQueue::work() {
  cudaSetDevice(device_);
  std::unique_lock lock(mutex_);
  const auto first = [&] {
    return std::find_if(entries_.begin(), entries_.end(), [](const Entry& e) { return !e.over; });
  };
  // Only this thread takes entries away, so that their events stay while it asks for them.
  const auto is_over = [&](cudaEvent_t event) {
    asking_ = true;
    lock.unlock();
    const cudaError_t found = cudaEventQuery(event);
    if (found != cudaSuccess) cudaGetLastError();
    lock.lock();
    asking_ = false;
    return found != cudaErrorNotReady;  // an error is the queue's to find
  };
  while (!closed_) {
    while (!closed_ && first() != entries_.end()) {
      const Events events = first()->events;
      if (!begun_ && !is_over(events.begun)) break;
      begun_ = true;
      if (!is_over(events.ended)) break;
      begun_ = false;
      first()->over = true;
    }
    while (!entries_.empty() && entries_.front().over && entries_.front().released) {
      spare_.push_back(entries_.front().events);
      entries_.pop_front();
    }
    if (closed_) return;
    if (first() == entries_.end()) {
      changed_.wait(lock, [&] { return closed_ || first() != entries_.end(); });
    } else {
      changed_.wait_for(lock, kBetweenLooks, [&] { return closed_; });
    }
  }
}

Nccl::Nccl(const std::string& id, int rank, int size)
    : api_(&api()), rank_(rank), queue_(std::make_shared<NcclQueue>()) {
  NcclId own{};
  std::memcpy(own.internal, id.data(), std::min(id.size(), sizeof own.internal));
  cuda::check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "cudaStreamCreate");
  const int result = api_->ncclCommInitRank(&comm_, size, own, rank);
  if (result == kNcclSuccess) return;
  cudaStreamDestroy(stream_);
  check(result, "ncclCommInitRank");
}

Nccl::~Nccl() {
  // What is still under way may wait for processes that are gone.
  if (done_.empty()) {
    api_->ncclCommDestroy(comm_);
  } else {
    api_->ncclCommAbort(comm_);
  }
  queue_->close();
  cudaStreamDestroy(stream_);
}

void Nccl::check(int result, const char* what) const {
  if (result == kNcclSuccess) return;
  throw std::runtime_error(std::string(what) + ": " + api_->ncclGetErrorString(result));
}

void Nccl::start(uint64_t number, const Collective& collective, cudaStream_t stream) {
  const NcclQueue::Events events = queue_->take();
  cuda::check(cudaEventRecord(events.begun, stream), "cudaEventRecord");
  cuda::check(cudaStreamWaitEvent(stream_, events.begun, 0), "cudaStreamWaitEvent");
  const int type = collective.dtype == DType::int32 ? kNcclInt32 : kNcclFloat32;
  const auto count = static_cast<size_t>(collective.count);
  auto* data = static_cast<char*>(collective.data);
  switch (collective.kind) {
    case CollectiveKind::all_reduce:
      check(api_->ncclAllReduce(data, data, count, type, kOps[static_cast<int>(collective.op)],
                                comm_, stream_),
            "ncclAllReduce");
      break;
    case CollectiveKind::broadcast:
      check(api_->ncclBroadcast(data, data, count, type, collective.root, comm_, stream_),
            "ncclBroadcast");
      break;
    case CollectiveKind::all_gather:
      check(api_->ncclAllGather(data + 4 * count * static_cast<size_t>(rank_), data, count, type,
                                comm_, stream_),
            "ncclAllGather");
      break;
    case CollectiveKind::barrier:
      break;
  }
  cuda::check(cudaEventRecord(events.ended, stream_), "cudaEventRecord");
  done_[number] = events.ended;
  queue_->push(number, collective, events);
}

void Nccl::finish(uint64_t number, cudaStream_t stream) {
  const auto found = done_.find(number);
  if (found == done_.end()) throw std::runtime_error("internal: no such collective");
  const cudaEvent_t event = found->second;
  done_.erase(found);
  cuda::check(cudaStreamWaitEvent(stream, event, 0), "cudaStreamWaitEvent");
  queue_->release(number);
}

NcclProgress Nccl::progress() const {
  return [queue = queue_] { return queue->waiting(); };
}

std::string Nccl::missing() {
  std::string why;
  nccl_api(why);
  return why;
}

std::string Nccl::new_id() {
  NcclId id{};
  const int result = api().ncclGetUniqueId(&id);
  if (result != kNcclSuccess)
    throw std::runtime_error(std::string("ncclGetUniqueId: ") + api().ncclGetErrorString(result));
  return {id.internal, sizeof id.internal};
}

}  // namespace cuda

std::string nccl_missing() { return cuda::Nccl::missing(); }
std::string nccl_new_id() { return cuda::Nccl::new_id(); }

NcclProgress nccl_join(Device& device, const std::string& id, int rank, int size) {
  auto& own = static_cast<cuda::CudaDevice&>(device);
  own.nccl = std::make_unique<cuda::Nccl>(id, rank, size);
  return own.nccl->progress();
}

void nccl_leave(Device& device) { static_cast<cuda::CudaDevice&>(device).nccl.reset(); }

void nccl_start(Device& device, uint64_t number, const Collective& collective) {
  auto& own = static_cast<cuda::CudaDevice&>(device);
  if (own.nccl == nullptr) throw std::runtime_error("NCCL could not be started on " + own.name());
  own.nccl->start(number, collective, own.stream());
}

void nccl_finish(Device& device, uint64_t number) {
  auto& own = static_cast<cuda::CudaDevice&>(device);
  own.nccl->finish(number, own.stream());
}

}  // namespace fused_rnn
