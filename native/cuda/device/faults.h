// What kernels have reported (fault.h) since the last wait, and the messages for it.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/device.h"
#include "core/job_log.h"
#include "cuda/device/fault.h"

namespace fused_rnn::cuda {

class Faults {
 public:
  Faults();
  ~Faults();
  Faults(const Faults&) = delete;
  Faults& operator=(const Faults&) = delete;

  // The sites that are added from here on belong to this job.
  void begin_job(uint64_t number) { job_ = number; }

  enum class Kind { index, text, finite };
  // A place to report to, with a record of its own. `name` is the whole text of Kind::text; `flag`:
  // in device memory, set with the first report.
  FaultSite add(const char* op, const char* name, Kind kind, unsigned* flag);

  // When all that was queued has run: without a fault, all sites are free again.
  void forget_unless_reported();
  // The first fault in the order of the sites, once all that was queued has run. When none is left
  // the flag is 0 again.
  std::optional<DeviceFault> take(cudaStream_t stream, unsigned* flag);

 private:
  static constexpr size_t kSites = 2 * JobLog::kLimit;  // an operation has two at most

  struct Site {
    uint64_t job;
    std::string op;
    std::string name;
    Kind kind;
  };
  // Pinned, and as the device addresses it.
  struct Shared {
    unsigned any;
    FaultRecord records[kSites];
  };
  static std::string message(const Site& site, const FaultRecord& record);

  Shared* shared_ = nullptr;
  Shared* for_device_ = nullptr;
  uint64_t job_ = 0;
  std::vector<Site> sites_;
};

}  // namespace fused_rnn::cuda
