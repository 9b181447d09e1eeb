// How many processors this process may use, and how many threads it begins with.
#pragma once

#include <string>

namespace fused_rnn {

constexpr int kMostThreads = 1024;

// The fewest of: the machine's, those of the affinity mask (taskset, cpusets), and the quotas of
// processor time of the control groups, rounded up: a quota of 1.5 lets two threads run three
// quarters of the time, which is more than one all the time.
struct Processors {
  int count;        // at least 1
  std::string why;  // "2 processors", "affinity: 1 of 2 processors", "cgroup quota: 1.5 …"
};
// `processes`: so many of this machine's share them. `root`: a folder with proc/ and sys/, for
// tests.
Processors usable_processors(int processes = 1, const std::string& root = "");

struct ThreadChoice {
  int threads;
  std::string why;
  std::string warning;  // about a variable that was passed over, or empty
};
// FUSED_RNN_NUM_THREADS, else OMP_NUM_THREADS, else the usable processors. Throws
// std::runtime_error where the first of them is no number of threads; a nonsense OMP_NUM_THREADS,
// which is also for others, is a warning.
ThreadChoice choose_threads(const Processors& processors);

}  // namespace fused_rnn
