// Opens cuBLAS.
#include <dlfcn.h>

#include <cstdlib>
#include <mutex>
#include <vector>

#include "cuda/blas_api.h"

namespace fused_rnn::cuda {
namespace {

struct Loaded {
  BlasApi api{};
  std::string missing;
};

template <class F>
bool find(void* library, const char* name, F& function) {
  function = reinterpret_cast<F>(dlsym(library, name));
  return function != nullptr;
}

Loaded load() {
  Loaded loaded;
  std::vector<std::string> folders;
  // Such as a Python package's nvidia/cu13/lib.
  if (const char* given = std::getenv("FUSED_RNN_CUBLAS")) {
    folders.push_back(std::string(given) + "/");
  }
  folders.insert(folders.end(), {"", "/usr/local/cuda/lib64/"});
  void* library = nullptr;
  for (const std::string& folder : folders) {
    // What it needs itself lies beside it, where the loader need not look.
    dlopen((folder + "libcublasLt.so.13").c_str(), RTLD_NOW | RTLD_LOCAL);
    library = dlopen((folder + "libcublas.so.13").c_str(), RTLD_NOW | RTLD_LOCAL);
    if (library != nullptr) break;
    const char* error = dlerror();
    if (loaded.missing.empty() && error != nullptr) loaded.missing = error;
  }
  if (library == nullptr) {
    loaded.missing = "cuBLAS 13 was not found (" + loaded.missing +
                     "); install it, or set FUSED_RNN_CUBLAS to the folder that has it";
    return loaded;
  }
  BlasApi& api = loaded.api;
  const bool complete =
      find(library, "cublasCreate_v2", api.cublasCreate_v2) &&
      find(library, "cublasDestroy_v2", api.cublasDestroy_v2) &&
      find(library, "cublasSetStream_v2", api.cublasSetStream_v2) &&
      find(library, "cublasSetWorkspace_v2", api.cublasSetWorkspace_v2) &&
      find(library, "cublasGemmEx", api.cublasGemmEx) &&
      find(library, "cublasGemmStridedBatchedEx", api.cublasGemmStridedBatchedEx) &&
      find(library, "cublasGetStatusString", api.cublasGetStatusString);
  loaded.missing = complete ? "" : "cuBLAS lacks functions that fused-rnn needs";
  return loaded;
}

}  // namespace

const BlasApi* blas_api(std::string& why) {
  static const Loaded* const loaded = new Loaded(load());
  why = loaded->missing;
  return why.empty() ? &loaded->api : nullptr;
}

}  // namespace fused_rnn::cuda
