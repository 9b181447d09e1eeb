#include "cuda/device/nccl.h"

#include <cstring>
#include <stdexcept>

#include "cuda/device/device.h"
#include "ops/cuda.h"

namespace fused_rnn {
namespace cuda {
namespace {

constexpr int kOps[] = {kNcclSum, kNcclMin, kNcclMax, kNcclProduct};  // by Reduce

const NcclApi& api() {
  std::string why;
  const NcclApi* found = nccl_api(why);
  if (found == nullptr) throw std::runtime_error(why);
  return *found;
}

}  // namespace

Nccl::Nccl(const std::string& id, int rank, int size) : api_(&api()), rank_(rank) {
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
  for (const auto& [number, event] : done_) cudaEventDestroy(event);
  for (cudaEvent_t event : spare_) cudaEventDestroy(event);
  cudaStreamDestroy(stream_);
}

void Nccl::check(int result, const char* what) const {
  if (result == kNcclSuccess) return;
  throw std::runtime_error(std::string(what) + ": " + api_->ncclGetErrorString(result));
}

cudaEvent_t Nccl::take_event() {
  cudaEvent_t event = nullptr;
  if (spare_.empty()) {
    cuda::check(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "cudaEventCreate");
  } else {
    event = spare_.back();
    spare_.pop_back();
  }
  return event;
}

void Nccl::start(uint64_t number, const Collective& collective, cudaStream_t stream) {
  const cudaEvent_t event = take_event();
  done_[number] = event;
  // One event serves both ways: a wait is for it as it was recorded last.
  cuda::check(cudaEventRecord(event, stream), "cudaEventRecord");
  cuda::check(cudaStreamWaitEvent(stream_, event, 0), "cudaStreamWaitEvent");
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
  cuda::check(cudaEventRecord(event, stream_), "cudaEventRecord");
}

void Nccl::finish(uint64_t number, cudaStream_t stream) {
  const auto found = done_.find(number);
  if (found == done_.end()) throw std::runtime_error("internal: no such collective");
  const cudaEvent_t event = found->second;
  done_.erase(found);
  cuda::check(cudaStreamWaitEvent(stream, event, 0), "cudaStreamWaitEvent");
  spare_.push_back(event);
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

void nccl_join(Device& device, const std::string& id, int rank, int size) {
  static_cast<cuda::CudaDevice&>(device).nccl = std::make_unique<cuda::Nccl>(id, rank, size);
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
