// Libraries that are opened at run time: cuBLAS and NCCL.
#pragma once

#include <cstdlib>
#include <string>

#include "core/library.h"

namespace fused_rnn::cuda {

// A library's functions, or why there are none.
template <class Api>
struct Loaded {
  Api api{};
  std::string missing;

  // For the one that a process has, which is never destroyed.
  const Api* get(std::string& why) const {
    why = missing;
    return why.empty() ? &api : nullptr;
  }
};

// The folder that an environment variable names, ready for a file's name; empty without.
inline std::string given_folder(const char* variable) {
  const char* given = std::getenv(variable);
  return given == nullptr ? "" : std::string(given) + "/";
}

}  // namespace fused_rnn::cuda
