// Opens cuBLAS.
#include <vector>

#include "cuda/device/blas_api.h"
#include "cuda/device/loaded.h"

namespace fused_rnn::cuda {
namespace {

Loaded<BlasApi> load() {
  Loaded<BlasApi> loaded;
  std::vector<std::string> folders = {"", "/usr/local/cuda/lib64/"};
  // Such as a Python package's nvidia/cu13/lib.
  const std::string given = given_folder("FUSED_RNN_CUBLAS");
  if (!given.empty()) folders.insert(folders.begin(), given);
  void* library = nullptr;
  for (const std::string& folder : folders) {
    // What it needs itself lies beside it, where the loader need not look.
    std::string why;
    open_library(folder + "libcublasLt.so.13", Symbols::own, why);
    library = open_library(folder + "libcublas.so.13", Symbols::own, why);
    if (library != nullptr) break;
    if (loaded.missing.empty()) loaded.missing = why;
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
  static const auto* const loaded = new Loaded(load());
  return loaded->get(why);
}

}  // namespace fused_rnn::cuda
