// Libraries that are opened at run time: MPI, cuBLAS, NCCL.
#pragma once

#include <string>

namespace fused_rnn {

// Whether what is loaded later finds the library's symbols among all: Open MPI's plug-ins look there.
enum class Symbols { shared, own };

// Null when it cannot be opened; `why` then has the system's reason.
void* open_library(const std::string& file, Symbols symbols, std::string& why);
// Null where there is none of this name.
void* find_symbol(void* library, const char* name);

// A function or an object; false where there is none of this name.
template <class F>
bool find(void* library, const char* name, F& function) {
  function = reinterpret_cast<F>(find_symbol(library, name));
  return function != nullptr;
}

}  // namespace fused_rnn
