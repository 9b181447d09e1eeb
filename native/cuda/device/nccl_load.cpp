// Opens NCCL.
#include "cuda/device/loaded.h"
#include "cuda/device/nccl_api.h"

namespace fused_rnn::cuda {
namespace {

Loaded<NcclApi> load() {
  Loaded<NcclApi> loaded;
  // Such as a Python package's nvidia/nccl/lib.
  const std::string file = given_folder("FUSED_RNN_NCCL") + "libnccl.so.2";
  std::string why = file;
  void* library = open_library(file, Symbols::own, why);
  if (library == nullptr) {
    loaded.missing = "NCCL 2 was not found (" + why +
                     "); install it (pip install nvidia-nccl-cu13), or set FUSED_RNN_NCCL to the "
                     "folder that has it";
    return loaded;
  }
  NcclApi& api = loaded.api;
  const bool complete = find(library, "ncclGetVersion", api.ncclGetVersion) &&
                        find(library, "ncclGetUniqueId", api.ncclGetUniqueId) &&
                        find(library, "ncclCommInitRank", api.ncclCommInitRank) &&
                        find(library, "ncclCommAbort", api.ncclCommAbort) &&
                        find(library, "ncclCommDestroy", api.ncclCommDestroy) &&
                        find(library, "ncclAllReduce", api.ncclAllReduce) &&
                        find(library, "ncclBroadcast", api.ncclBroadcast) &&
                        find(library, "ncclAllGather", api.ncclAllGather) &&
                        find(library, "ncclGetErrorString", api.ncclGetErrorString);
  loaded.missing = complete ? "" : "NCCL lacks functions that fused-rnn needs";
  return loaded;
}

}  // namespace

const NcclApi* nccl_api(std::string& why) {
  static const auto* const loaded = new Loaded(load());
  return loaded->get(why);
}

}  // namespace fused_rnn::cuda
