#include "core/available_memory.h"

#include <algorithm>
#include <cstdint>
#include <fstream>
#include <limits>
#include <sstream>
#include <string>

namespace fused_rnn {
namespace {

constexpr size_t kUnknown = std::numeric_limits<size_t>::max();

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

// The group's limits and those of the groups around it. In a container its path may be one of the
// host, while the files of the container's group are at the root.
template <class Make>
size_t least_available(std::string path, Make make) {
  size_t least = make("").available();
  while (path.size() > 1) {
    least = std::min(least, make(path).available());
    path.resize(path.find_last_of('/'));
  }
  return least;
}

size_t available_in_group() {
  size_t least = kUnknown;
  std::ifstream groups("/proc/self/cgroup");
  // number:controllers:path
  for (std::string line; std::getline(groups, line);) {
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const std::string path = line.substr(second + 1);
    if (controllers.empty()) {
      least = std::min(least, least_available(path, [](const std::string& path) {
                         return Group{"/sys/fs/cgroup" + path, "/memory.max", "/memory.current",
                                      "inactive_file", "active_file"};
                       }));
    } else if (("," + controllers + ",").find(",memory,") != std::string::npos) {
      least = std::min(least, least_available(path, [](const std::string& path) {
                         return Group{"/sys/fs/cgroup/memory" + path, "/memory.limit_in_bytes",
                                      "/memory.usage_in_bytes", "total_inactive_file",
                                      "total_active_file"};
                       }));
    }
  }
  return least;
}

}  // namespace

size_t available_memory() {
  const size_t kib = number_after("/proc/meminfo", "MemAvailable:", kUnknown);
  return std::min(kib == kUnknown ? kUnknown : 1024 * kib, available_in_group());
}

}  // namespace fused_rnn
