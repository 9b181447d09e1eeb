#include "core/processors.h"

#if defined(__linux__)
#include <sched.h>
#include <unistd.h>
#endif

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <thread>
#include <vector>

#include "core/control_groups.h"

namespace fused_rnn {
namespace {

std::string counted(int n) { return std::to_string(n) + (n == 1 ? " processor" : " processors"); }

#if defined(__linux__)
// How many processors a process may run on; 0 if that cannot be found out.
int affinity_of(pid_t process) {
  // A mask that is too small for the machine is refused.
  for (int bits = CPU_SETSIZE; bits <= 1 << 20; bits *= 2) {
    std::vector<cpu_set_t> mask(static_cast<size_t>(bits / CPU_SETSIZE));
    const size_t bytes = mask.size() * sizeof(cpu_set_t);
    if (sched_getaffinity(process, bytes, mask.data()) == 0) return CPU_COUNT_S(bytes, mask.data());
  }
  return 0;
}
#endif

// Processors' worth of time that a group may use, or infinity.
double quota_of(const ControlGroup& group) {
  double quota = 0, period = 0;
  std::string text;
  if (group.second_version) {
    std::ifstream file(group.folder + "/cpu.max");  // "max 100000", "150000 100000"
    if (file >> text >> period) quota = std::strtod(text.c_str(), nullptr);
  } else {
    std::ifstream(group.folder + "/cpu.cfs_quota_us") >> quota;  // -1: none
    std::ifstream(group.folder + "/cpu.cfs_period_us") >> period;
  }
  return quota > 0 && period > 0 ? quota / period : INFINITY;
}

std::string short_number(double x) {
  std::ostringstream text;
  text.precision(3);
  text << x;
  return text.str();
}

// A number of threads. OMP_NUM_THREADS may have one for each level of nesting.
std::optional<int> threads_in(std::string text, bool list) {
  if (list) text = text.substr(0, text.find(','));
  const char* kSpace = " \t\r\n";
  const size_t begin = text.find_first_not_of(kSpace);
  if (begin == std::string::npos) return std::nullopt;
  text = text.substr(begin, text.find_last_not_of(kSpace) + 1 - begin);
  if (text.size() > 4 || text.find_first_not_of("0123456789") != std::string::npos) {
    return std::nullopt;
  }
  const int number = std::stoi(text);
  return number >= 1 && number <= kMostThreads ? std::optional(number) : std::nullopt;
}

}  // namespace

Processors usable_processors(int processes, const std::string& root) {
  const int machine = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  Processors usable{machine, counted(machine)};
  // Several processes share them, but for those that their launcher has given this one alone.
  bool shared = processes > 1;
#if defined(__linux__)
  if (const int allowed = affinity_of(0); allowed > 0 && allowed < machine) {
    usable = {allowed, "affinity: " + std::to_string(allowed) + " of " + counted(machine)};
    if (const int launchers = affinity_of(getppid()); launchers > allowed) {
      shared = false;
      usable.count = std::min(allowed, std::max(1, launchers / processes));
    }
  }
#endif
  if (shared) {
    usable.count = std::max(1, usable.count / processes);
    usable.why += ", shared by " + std::to_string(processes) + " processes";
  }
  double quota = INFINITY;
  for (const ControlGroup& group : control_groups("cpu", root)) {
    quota = std::min(quota, quota_of(group));
  }
  if (quota / processes <= usable.count - 1) {
    usable.count = std::max(1, static_cast<int>(std::ceil(quota / processes)));
    usable.why = "cgroup quota: " + short_number(quota) + " of " + counted(machine);
    if (processes > 1) usable.why += ", shared by " + std::to_string(processes) + " processes";
  }
  return usable;
}

ThreadChoice choose_threads(const Processors& processors) {
  const std::string range = "expected a whole number from 1 to " + std::to_string(kMostThreads);
  const char* ours = std::getenv("FUSED_RNN_NUM_THREADS");
  if (ours != nullptr && *ours != '\0') {
    const auto threads = threads_in(ours, false);
    if (threads) return {*threads, "FUSED_RNN_NUM_THREADS", ""};
    throw std::runtime_error("FUSED_RNN_NUM_THREADS: " + range + ", got '" + ours + "'");
  }
  const char* omp = std::getenv("OMP_NUM_THREADS");
  if (omp == nullptr || *omp == '\0') return {processors.count, processors.why, ""};
  const auto threads = threads_in(omp, true);
  if (threads) return {*threads, "OMP_NUM_THREADS", ""};
  return {processors.count, processors.why,
          "OMP_NUM_THREADS is passed over: " + range + ", got '" + omp + "'"};
}

}  // namespace fused_rnn
