// Opens NCCL.
#include <dlfcn.h>

#include <cstdlib>

#include "cuda/nccl_api.h"

namespace fused_rnn::cuda {
namespace {

struct Loaded {
  NcclApi api{};
  std::string missing;
};

template <class F>
bool find(void* library, const char* name, F& function) {
  function = reinterpret_cast<F>(dlsym(library, name));
  return function != nullptr;
}

Loaded load() {
  Loaded loaded;
  std::string file = "libnccl.so.2";
  // Such as a Python package's nvidia/nccl/lib.
  if (const char* given = std::getenv("FUSED_RNN_NCCL")) file = std::string(given) + "/" + file;
  void* library = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    const char* error = dlerror();
    loaded.missing = std::string("NCCL 2 was not found (") + (error != nullptr ? error : file) +
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
  static const Loaded* const loaded = new Loaded(load());
  why = loaded->missing;
  return why.empty() ? &loaded->api : nullptr;
}

}  // namespace fused_rnn::cuda
