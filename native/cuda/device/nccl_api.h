// What is used of NCCL, declared here so that building needs no NCCL: it is opened at run time.
// scripts/check-cuda.sh compares it with NCCL's own header.
#pragma once

#include <cstddef>
#include <string>

#include "cuda/device/runtime.h"

struct ncclComm;

namespace fused_rnn::cuda {

using NcclComm = ncclComm*;
struct NcclId {
  char internal[128];
};

// ncclDataType_t, ncclRedOp_t, ncclResult_t
enum NcclType : int { kNcclInt32 = 2, kNcclFloat32 = 7 };
enum NcclOp : int { kNcclSum = 0, kNcclProduct = 1, kNcclMax = 2, kNcclMin = 3 };
constexpr int kNcclSuccess = 0;

// The functions by their exported names, each returning an ncclResult_t.
struct NcclApi {
  int (*ncclGetVersion)(int* version);
  int (*ncclGetUniqueId)(NcclId*);
  int (*ncclCommInitRank)(NcclComm*, int size, NcclId id, int rank);
  int (*ncclCommAbort)(NcclComm);
  int (*ncclCommDestroy)(NcclComm);
  int (*ncclAllReduce)(const void* from, void* to, size_t count, int type, int op, NcclComm,
                       cudaStream_t);
  int (*ncclBroadcast)(const void* from, void* to, size_t count, int type, int root, NcclComm,
                       cudaStream_t);
  int (*ncclAllGather)(const void* from, void* to, size_t count, int type, NcclComm, cudaStream_t);
  const char* (*ncclGetErrorString)(int);
};

// Null when NCCL is not there; then `why` says what was looked for. Thread-safe.
const NcclApi* nccl_api(std::string& why);

}  // namespace fused_rnn::cuda
