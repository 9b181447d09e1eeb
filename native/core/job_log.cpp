#include "core/job_log.h"

#include <algorithm>
#include <set>

namespace fused_rnn {
namespace {

std::vector<std::weak_ptr<Storage>> storages_of(std::span<const Buffer> buffers) {
  std::vector<std::weak_ptr<Storage>> storages;
  storages.reserve(buffers.size());
  for (const Buffer& buffer : buffers) {
    if (buffer) storages.push_back(buffer.storage);
  }
  return storages;
}

}  // namespace

void JobLog::add(uint64_t number, std::span<const Buffer> reads, std::span<const Buffer> writes) {
  jobs_.push_back({number, storages_of(reads), storages_of(writes)});
}

void JobLog::poison(const DeviceFault& fault) const {
  // Storages that are gone already count too: what was made from them may still be there.
  std::set<std::weak_ptr<Storage>, std::owner_less<>> bad;
  for (const Job& job : jobs_) {
    const bool inherits = std::any_of(job.reads.begin(), job.reads.end(),
                                      [&](const auto& storage) { return bad.contains(storage); });
    if (job.number != fault.job && !inherits) continue;
    for (const std::weak_ptr<Storage>& storage : job.writes) {
      bad.insert(storage);
      const std::shared_ptr<Storage> alive = storage.lock();
      if (alive && alive->poisoned() == nullptr) alive->poison(fault.message);
    }
  }
}

}  // namespace fused_rnn
