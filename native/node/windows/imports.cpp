// Node's functions on Windows. What a DLL imports names the program that has it, node.exe; Electron
// and a Node under another name are none. So the functions are looked up when the addon is loaded,
// in the program that runs. Calls of them go through these pointers, as they are declared dllimport.
#include <windows.h>

#include <cstdio>
#include <cstdlib>

extern "C" {
#define FUNCTION(name) void* __imp_##name;
#include "napi_functions.def"
#undef FUNCTION
}

namespace {

// The list has what newer versions of Node have; nothing of that is called.
[[noreturn]] void missing() {
  std::fputs("fused-rnn: this program lacks a function of Node-API that the addon calls\n", stderr);
  std::abort();
}

struct Function {
  const char* name;
  void** address;
};

const Function kFunctions[] = {
#define FUNCTION(name) {#name, &__imp_##name},
#include "napi_functions.def"
#undef FUNCTION
};

__attribute__((constructor)) void look_up() {
  // The program itself, or the library in which it has Node.
  const HMODULE places[] = {GetModuleHandleA(nullptr), GetModuleHandleA("libnode.dll"),
                            GetModuleHandleA("node.dll")};
  for (const Function& function : kFunctions) {
    *function.address = reinterpret_cast<void*>(&missing);
    for (const HMODULE place : places) {
      const FARPROC found = place == nullptr ? nullptr : GetProcAddress(place, function.name);
      if (found == nullptr) continue;
      *function.address = reinterpret_cast<void*>(found);
      break;
    }
  }
  // Worker threads may still be inside when an environment closes: the addon stays.
  HMODULE self;
  GetModuleHandleExA(GET_MODULE_HANDLE_EX_FLAG_PIN | GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS,
                     reinterpret_cast<LPCSTR>(&look_up), &self);
}

}  // namespace
