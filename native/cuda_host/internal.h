// What the files of the host's CUDA share.
#pragma once

#include <cuda_runtime.h>

#include <atomic>
#include <climits>
#include <cstdint>
#include <mutex>
#include <random>

namespace cuda_host {

// Work runs, and everything below is used, by one thread at a time.
std::recursive_mutex& lock();

// For every choice of an order; FUSED_RNN_CUDA_HOST_SEED.
std::minstd_rand& dice();

cudaError_t set_error(cudaError_t error);

// A library that is opened shuts down at the end of the process, in the order of exit(): the one
// that was opened last goes first. Using it after that is an error; on hardware it crashes or hangs
// now and then.
class UntilExit {
 public:
  // Opened, if it is not yet.
  void open();
  // Dies where it is gone.
  void expect(const char* call) const;

 private:
  std::atomic<bool> opened_{false}, gone_{false};
};
extern UntilExit driver;

// Runs all that is queued, on all streams.
void run_everything();
bool is_captured(const Stream* stream);
// Dies where this thread captures a stream, in another mode than the relaxed one: CUDA refuses
// calls then that might wait for the device.
void expect_no_capture(const char* call);

// Shared memory of a block: without and with cudaFuncSetAttribute, as of an H100.
constexpr size_t kMostStaticShared = size_t{48} << 10;
constexpr size_t kMostShared = size_t{227} << 10;

// ---- Failures, for tests

// Allocations (and handles of cuBLAS, which have memory of their own), launches of kernels, those
// of a whole grid at once, products of cuBLAS, and calls that capture, make or launch graphs.
enum class Call { allocation, launch, launch_together, product, graph };
// From the n-th call of this kind on (1: the next) `count` fail; n = 0: none from now on. Returns
// how many have failed since it was called last.
int fail_from(Call call, int n, int count = INT_MAX);
// Asked by each of them.
bool fails(Call call);
// Whether all work that has not run yet comes before what this stream is given next.
bool waits_for_all(Stream* stream);

// ---- memory.cpp

enum class Where { nowhere, device, freed_device, pinned };
Where where(const void* address);
// Whether a page of this process is there.
bool is_mapped(const void* address);
// Device memory whose surroundings were written to is an error.
void check_surroundings();

}  // namespace cuda_host
