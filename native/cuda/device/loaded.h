// Libraries that are opened at run time: cuBLAS and NCCL.
#pragma once

#include <dlfcn.h>

#include <cstdlib>
#include <string>

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

inline void* open_library(const std::string& file) {
  return dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
}

// The folder that an environment variable names, ready for a file's name; empty without.
inline std::string given_folder(const char* variable) {
  const char* given = std::getenv(variable);
  return given == nullptr ? "" : std::string(given) + "/";
}

template <class F>
bool find(void* library, const char* name, F& function) {
  function = reinterpret_cast<F>(dlsym(library, name));
  return function != nullptr;
}

}  // namespace fused_rnn::cuda
