#include "core/available_memory.h"

#if defined(_WIN32)
#include <windows.h>
#endif

#include <algorithm>
#include <cstdint>
#include <fstream>
#include <limits>
#include <string>

#include "core/control_groups.h"

namespace fused_rnn {
namespace {

constexpr size_t kUnknown = std::numeric_limits<size_t>::max();

#if !defined(_WIN32)
// The number in a file of one, or kUnknown ("max").
size_t number_in(const std::string& path) {
  std::ifstream file(path);
  size_t number;
  return file >> number ? number : kUnknown;
}

// The number after a word in a file of words and numbers, or `absent`.
size_t number_after(const std::string& path, const std::string& wanted, size_t absent) {
  std::ifstream file(path);
  std::string word;
  while (file >> word) {
    size_t number;
    if (word == wanted && file >> number) return number;
  }
  return absent;
}

// A control group's files, as its version has them.
struct Group {
  std::string folder;
  const char* limit;
  const char* usage;
  const char* files;  // in memory.stat: the cached files, which the system gives up first
  const char* active_files;

  size_t available() const {
    const size_t most = number_in(folder + limit);
    const size_t used = number_in(folder + usage);
    if (most == kUnknown || used == kUnknown) return kUnknown;
    const size_t cached = number_after(folder + "/memory.stat", files, 0) +
                          number_after(folder + "/memory.stat", active_files, 0);
    const size_t kept = used > cached ? used - cached : 0;
    return most > kept ? most - kept : 0;
  }
};

size_t available_in_groups() {
  size_t least = kUnknown;
  for (const auto& [folder, second] : control_groups("memory")) {
    const Group group =
        second ? Group{folder, "/memory.max", "/memory.current", "inactive_file", "active_file"}
               : Group{folder, "/memory.limit_in_bytes", "/memory.usage_in_bytes",
                       "total_inactive_file", "total_active_file"};
    least = std::min(least, group.available());
  }
  return least;
}
#endif

}  // namespace

size_t available_memory() {
#if defined(_WIN32)
  // What is promised is there, in page files at worst: room is needed in them and in memory.
  MEMORYSTATUSEX status{};
  status.dwLength = sizeof status;
  if (!GlobalMemoryStatusEx(&status)) return kUnknown;
  return static_cast<size_t>(std::min(status.ullAvailPhys, status.ullAvailPageFile));
#else
  const size_t kib = number_after("/proc/meminfo", "MemAvailable:", kUnknown);
  return std::min(kib == kUnknown ? kUnknown : 1024 * kib, available_in_groups());
#endif
}

}  // namespace fused_rnn
