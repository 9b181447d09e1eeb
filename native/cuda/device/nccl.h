// Collectives between GPUs by NCCL, which is opened at run time (nccl_load.cpp; native/cuda_host
// has one of its own). They run on a stream of their own, beside what the device is given
// meanwhile.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "cuda/device/nccl_api.h"
#include "ops/collective.h"

namespace fused_rnn::cuda {

// Which of the collectives that a GPU has been given it waits in. A thread of its own asks the GPU
// now and then: all other threads get its last answer, also when the driver does not come back.
class NcclQueue {
 public:
  struct Events {
    cudaEvent_t begun = nullptr;  // everything before the collective is done
    cudaEvent_t ended = nullptr;
  };

  // For the device of this thread.
  NcclQueue();
  ~NcclQueue();
  NcclQueue(const NcclQueue&) = delete;
  NcclQueue& operator=(const NcclQueue&) = delete;

  // The events of one to come; used ones where there are some.
  Events take();
  // Both have been recorded.
  void push(uint64_t number, const Collective& collective, Events events);
  // Nobody else will wait for its events; they are used again when it is over.
  void release(uint64_t number);
  std::optional<NcclWait> waiting();
  // Ends the thread. Nobody asks the GPU after it.
  void close();

 private:
  struct Entry {
    uint64_t number;
    Collective collective;
    Events events;
    bool over = false, released = false;
  };

  void work();

  int device_ = 0;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::thread thread_;
  std::deque<Entry> entries_;
  std::vector<Events> spare_;
  bool begun_ = false;   // the first that is not over
  bool asking_ = false;  // the thread is inside the driver
  bool closed_ = false;
};

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
  // May be asked also when this is gone.
  NcclProgress progress() const;

  static std::string missing();
  static std::string new_id();

 private:
  void check(int result, const char* what) const;
  const NcclApi* api_;
  NcclComm comm_ = nullptr;
  int rank_;
  cudaStream_t stream_ = nullptr;
  std::map<uint64_t, cudaEvent_t> done_;  // of what has been started
  std::shared_ptr<NcclQueue> queue_;
};

}  // namespace fused_rnn::cuda
