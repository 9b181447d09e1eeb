// NCCL on the host: the few functions of native/cuda/device/nccl_api.h, between processes of one
// machine by shared memory. A collective runs when its stream does, and waits there for the other
// processes.
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <memory>
#include <thread>

#include "cuda/device/nccl_api.h"
#include "cuda_host/internal.h"

namespace {

constexpr size_t kSlot = size_t{1} << 14;  // elements that a process hands over at a time

// What the processes share; zeros at first.
struct Meeting {
  std::atomic<int> arrived;
  std::atomic<int> round;
  alignas(64) uint32_t slots[][kSlot];  // one for each process
};

}  // namespace

struct ncclComm {
  Meeting* meeting = nullptr;
  size_t bytes = 0;
  int rank = 0, size = 0;

  // Until all processes have come here.
  void meet() {
    const int round = meeting->round.load();
    if (meeting->arrived.fetch_add(1) + 1 == size) {
      meeting->arrived = 0;
      meeting->round = round + 1;
      return;
    }
    // For ever, as NCCL's: distributed/watchdog.h ends a process that waits too long.
    while (meeting->round.load() == round)
      std::this_thread::sleep_for(std::chrono::microseconds(20));
  }
};

namespace fused_rnn::cuda {
namespace {

constexpr int kSystemError = 2;

int version(int* version) {
  *version = 0;
  return kNcclSuccess;
}

int unique_id(NcclId* id) {
  static std::atomic<int> count{0};
  const auto now = std::chrono::steady_clock::now().time_since_epoch().count();
  std::snprintf(id->internal, sizeof id->internal, "/fused-rnn-%d-%d-%lld", getpid(), count++,
                static_cast<long long>(now));
  return kNcclSuccess;
}

int init_rank(NcclComm* comm, int size, NcclId id, int rank) {
  const size_t bytes = sizeof(Meeting) + static_cast<size_t>(size) * sizeof(uint32_t[kSlot]);
  const int file = shm_open(id.internal, O_CREAT | O_RDWR, 0600);
  if (file < 0) return kSystemError;
  void* memory = MAP_FAILED;
  if (ftruncate(file, static_cast<off_t>(bytes)) == 0)
    memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  close(file);
  if (memory == MAP_FAILED) return kSystemError;
  *comm = new ncclComm{static_cast<Meeting*>(memory), bytes, rank, size};
  (*comm)->meet();
  if (rank == 0) shm_unlink(id.internal);
  return kNcclSuccess;
}

int destroy(NcclComm comm) {
  munmap(comm->meeting, comm->bytes);
  delete comm;
  return kNcclSuccess;
}

template <class T>
T combine(int op, T a, T b) {
  return op == kNcclSum       ? a + b
         : op == kNcclProduct ? a * b
         : op == kNcclMax     ? std::max(a, b)
                              : std::min(a, b);
}

template <class T>
void reduce(const ncclComm& comm, void* to, size_t count, int op) {
  auto* out = static_cast<T*>(to);
  for (size_t i = 0; i < count; ++i) {
    T value{};
    for (int rank = 0; rank < comm.size; ++rank) {
      T other;
      std::memcpy(&other, &comm.meeting->slots[rank][i], sizeof other);
      value = rank == 0 ? other : combine(op, value, other);
    }
    out[i] = value;
  }
}

// In pieces: everybody's are in the slots while use(offset, count) looks at them.
template <class F>
void exchange(ncclComm& comm, const void* from, size_t count, F use) {
  const auto* values = static_cast<const uint32_t*>(from);
  for (size_t offset = 0; offset < count; offset += kSlot) {
    const size_t part = std::min(kSlot, count - offset);
    std::memcpy(comm.meeting->slots[comm.rank], values + offset, 4 * part);
    comm.meet();
    use(offset, part);
    comm.meet();
  }
}

int all_reduce(const void* from, void* to, size_t count, int type, int op, NcclComm comm,
               cudaStream_t stream) {
  static const char what = 0;
  cuda_host::submit(stream, &what, [=] {
    exchange(*comm, from, count, [&](size_t offset, size_t part) {
      void* out = static_cast<uint32_t*>(to) + offset;
      if (type == kNcclInt32) {
        reduce<int32_t>(*comm, out, part, op);
      } else {
        reduce<float>(*comm, out, part, op);
      }
    });
  });
  return kNcclSuccess;
}

int broadcast(const void* from, void* to, size_t count, int, int root, NcclComm comm,
              cudaStream_t stream) {
  static const char what = 0;
  cuda_host::submit(stream, &what, [=] {
    exchange(*comm, from, count, [&](size_t offset, size_t part) {
      std::memcpy(static_cast<uint32_t*>(to) + offset, comm->meeting->slots[root], 4 * part);
    });
  });
  return kNcclSuccess;
}

int all_gather(const void* from, void* to, size_t count, int, NcclComm comm, cudaStream_t stream) {
  static const char what = 0;
  cuda_host::submit(stream, &what, [=] {
    exchange(*comm, from, count, [&](size_t offset, size_t part) {
      for (int rank = 0; rank < comm->size; ++rank) {
        const size_t at = static_cast<size_t>(rank) * count + offset;
        std::memcpy(static_cast<uint32_t*>(to) + at, comm->meeting->slots[rank], 4 * part);
      }
    });
  });
  return kNcclSuccess;
}

const char* status(int) { return "shared memory between the processes could not be made"; }

}  // namespace

const NcclApi* nccl_api(std::string&) {
  static const NcclApi api{.ncclGetVersion = version,
                           .ncclGetUniqueId = unique_id,
                           .ncclCommInitRank = init_rank,
                           .ncclCommAbort = destroy,
                           .ncclCommDestroy = destroy,
                           .ncclAllReduce = all_reduce,
                           .ncclBroadcast = broadcast,
                           .ncclAllGather = all_gather,
                           .ncclGetErrorString = status};
  return &api;
}

}  // namespace fused_rnn::cuda
