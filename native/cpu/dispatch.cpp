// Chooses the instruction set once per process. The levels are those of add_kernels in
// CMakeLists.txt.
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <vector>

#include "ops/backend.h"

namespace fused_rnn {

#if defined(__x86_64__) && !defined(FUSED_RNN_BASE_ONLY)
namespace avx512 {
extern const Backend table;
}
namespace avx2 {
extern const Backend table;
}
#endif
namespace base {
extern const Backend table;
}

namespace {

struct Candidate {
  const Backend* table;
  bool (*available)();
};

// Widest first.
const Candidate kCandidates[] = {
#if defined(__x86_64__) && !defined(FUSED_RNN_BASE_ONLY)
    {&avx512::table, [] { return __builtin_cpu_supports("x86-64-v4") != 0; }},
    {&avx2::table, [] { return __builtin_cpu_supports("x86-64-v3") != 0; }},
#endif
    {&base::table, [] { return true; }},
};

const Backend& choose() {
  const char* wanted = std::getenv("FUSED_RNN_ISA");
  std::string known;
  for (const Candidate& candidate : kCandidates) {
    const std::string name = candidate.table->name;
    known += (known.empty() ? "" : ", ") + name;
    if (wanted == nullptr || *wanted == 0) {
      if (candidate.available()) return *candidate.table;
    } else if (name == wanted) {
      if (candidate.available()) return *candidate.table;
      throw std::runtime_error("FUSED_RNN_ISA=" + name + ": this processor does not have it");
    }
  }
  throw std::runtime_error("FUSED_RNN_ISA: expected one of " + known + ", got " + wanted);
}

}  // namespace

const Backend& cpu_backend() {
  static const Backend& chosen = choose();
  return chosen;
}

std::vector<std::string> cpu_features() {
  std::vector<std::string> features;
#if defined(__x86_64__)
  // The compiler wants each name as it is written.
#define FEATURE(name) \
  if (__builtin_cpu_supports(name)) features.push_back(name);
  FEATURE("sse4.2")
  FEATURE("avx")
  FEATURE("avx2")
  FEATURE("fma")
  FEATURE("avx512f")
  FEATURE("avx512bw")
  FEATURE("avx512dq")
  FEATURE("avx512vl")
  FEATURE("avx512vnni")
  FEATURE("avx512bf16")
#undef FEATURE
#elif defined(__aarch64__)
  features.push_back("neon");
#endif
  return features;
}

std::vector<std::string> cpu_instruction_sets() {
  std::vector<std::string> names;
  for (const Candidate& candidate : kCandidates) {
    if (candidate.available()) names.push_back(candidate.table->name);
  }
  return names;
}

}  // namespace fused_rnn
