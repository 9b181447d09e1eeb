#include "core/library.h"

#if defined(_WIN32)
#include <windows.h>

#include <system_error>
#else
#include <dlfcn.h>
#endif

namespace fused_rnn {

#if defined(_WIN32)

void* open_library(const std::string& file, Symbols, std::string& why) {
  HMODULE library = LoadLibraryA(file.c_str());
  if (library == nullptr) {
    const auto error = static_cast<int>(GetLastError());
    why = file + ": " + std::system_category().message(error);
  }
  return reinterpret_cast<void*>(library);
}

void* find_symbol(void* library, const char* name) {
  return reinterpret_cast<void*>(GetProcAddress(static_cast<HMODULE>(library), name));
}

#else

void* open_library(const std::string& file, Symbols symbols, std::string& why) {
  const int mode = symbols == Symbols::shared ? RTLD_GLOBAL : RTLD_LOCAL;
  void* library = dlopen(file.c_str(), RTLD_NOW | mode);
  const char* error = library == nullptr ? dlerror() : nullptr;
  if (error != nullptr) why = error;
  return library;
}

void* find_symbol(void* library, const char* name) { return dlsym(library, name); }

#endif

}  // namespace fused_rnn
