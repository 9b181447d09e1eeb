#include "cuda/device/faults.h"

#include <cstring>
#include <stdexcept>

#include "core/failure.h"

namespace fused_rnn::cuda {

Faults::Faults() {
  check(cudaHostAlloc(&shared_, sizeof(Shared), cudaHostAllocMapped | cudaHostAllocPortable),
        "cudaHostAlloc");
  std::memset(static_cast<void*>(shared_), 0, sizeof(Shared));
  check(cudaHostGetDevicePointer(&for_device_, shared_, 0), "cudaHostGetDevicePointer");
}

Faults::~Faults() { cudaFreeHost(shared_); }

FaultSite Faults::add(const char* op, const char* name, Kind kind, unsigned* flag) {
  if (sites_.size() == kSites) throw std::runtime_error("too many operations without a wait");
  sites_.push_back({job_, op, name, kind});
  return {&for_device_->records[sites_.size() - 1], &for_device_->any, flag};
}

void Faults::forget_unless_reported() {
  if (shared_->any == 0) sites_.clear();
}

std::string Faults::message(const Site& site, const FaultRecord& record) {
  switch (site.kind) {
    case Kind::index:
      return index_message(site.op.c_str(), site.name.c_str(), record.position, record.value,
                           record.limit);
    case Kind::finite:
      return finite_message(record.limit, record.position, record.value != 0);
    default:
      return "[" + site.op + "] " + site.name;
  }
}

std::optional<DeviceFault> Faults::take(cudaStream_t stream, unsigned* flag) {
  if (*const_cast<const volatile unsigned*>(&shared_->any) == 0) return std::nullopt;
  // Others may be about to report, too: after this wait all are known.
  check(cudaStreamSynchronize(stream), "cudaStreamSynchronize");
  for (size_t i = 0; i < sites_.size(); ++i) {
    FaultRecord& record = shared_->records[i];
    if (record.set == 0) continue;
    record.set = 0;
    return DeviceFault{sites_[i].job, message(sites_[i], record)};
  }
  shared_->any = 0;
  sites_.clear();
  check(cudaMemsetAsync(flag, 0, sizeof *flag, stream), "cudaMemset");
  return std::nullopt;
}

}  // namespace fused_rnn::cuda
