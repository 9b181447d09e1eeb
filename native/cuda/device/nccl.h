// Collectives between GPUs by NCCL, which is opened at run time (nccl_load.cpp; native/cuda_host
// has one of its own). They run on a stream of their own, beside what the device is given
// meanwhile.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "cuda/device/nccl_api.h"
#include "ops/collective.h"

namespace fused_rnn::cuda {

// One process's GPU among those of a group. On the queue's thread.
class Nccl {
 public:
  // All processes have to come here, with the id that one of them has made. Throws
  // std::runtime_error.
  Nccl(const std::string& id, int rank, int size);
  ~Nccl();
  Nccl(const Nccl&) = delete;
  Nccl& operator=(const Nccl&) = delete;

  // Goes on after what `stream` has been given so far; finish() lets the stream go on after it.
  void start(uint64_t number, const Collective& collective, cudaStream_t stream);
  void finish(uint64_t number, cudaStream_t stream);

  static std::string missing();
  static std::string new_id();

 private:
  void check(int result, const char* what) const;
  cudaEvent_t take_event();

  const NcclApi* api_;
  NcclComm comm_ = nullptr;
  int rank_;
  cudaStream_t stream_ = nullptr;
  std::map<uint64_t, cudaEvent_t> done_;  // of what has been started
  std::vector<cudaEvent_t> spare_;
};

}  // namespace fused_rnn::cuda
