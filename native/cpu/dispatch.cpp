// Chooses the instruction set once per process. The levels are those of add_kernels in
// CMakeLists.txt; avx512vnni is avx512 with other kernels for int8, avx512bf16 for bfloat16 as well.
#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <vector>

#include "core/denormals.h"
#include "cpu/bf16/kernels.h"
#include "cpu/int8/kernels.h"
#include "ops/backend.h"
#include "ops/ops_elementwise_layer.h"

namespace fused_rnn {

#if defined(__x86_64__) && !defined(FUSED_RNN_BASE_ONLY)
namespace avx512bf16 {
extern const Bf16Kernels bf16;
}
namespace avx512vnni {
extern const Int8Kernels int8;
}
namespace avx512 {
extern const Backend table;
extern const Bf16Kernels bf16;
extern const Int8Kernels int8;
extern const ElementwiseLayerKernels elementwise_layer;
}  // namespace avx512
namespace avx2 {
extern const Backend table;
extern const Bf16Kernels bf16;
extern const Int8Kernels int8;
extern const ElementwiseLayerKernels elementwise_layer;
}  // namespace avx2
#endif
namespace base {
extern const Backend table;
extern const Bf16Kernels bf16;
extern const Int8Kernels int8;
extern const ElementwiseLayerKernels elementwise_layer;
}  // namespace base

namespace {

struct Candidate {
  const char* name;
  const Backend* table;
  const Bf16Kernels* bf16;
  const Int8Kernels* int8;
  const ElementwiseLayerKernels* elementwise_layer;
  bool (*available)();
  bool (*worth_it)() = [] { return true; };  // unless it is asked for
};

#if defined(__x86_64__) && !defined(FUSED_RNN_BASE_ONLY)
bool has_vnni() {
  return __builtin_cpu_supports("x86-64-v4") && __builtin_cpu_supports("avx512vnni");
}

// Seconds of a product that stays in the nearest cache.
double seconds(const Bf16Kernels& kernels) {
  constexpr int64_t kPairs = 64, kRows = 6, kColumns = 64;
  const FlushDenormals flush;
  std::vector<float> panel(kPairs * kernels.words * kColumns), a(kPairs * kernels.words * kRows),
      c(kRows * kColumns);
  double best = 1;
  for (int i = 0; i < 12; ++i) {
    const auto start = std::chrono::steady_clock::now();
    kernels.multiply({kPairs * kernels.words, kColumns, panel.data()}, kRows,
                     {a.data(), kRows, true}, c.data(), kColumns, nullptr, 0);
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    best = std::min(best, took.count());
  }
  return best;
}
#endif

// Widest first.
const Candidate kCandidates[] = {
#if defined(__x86_64__) && !defined(FUSED_RNN_BASE_ONLY)
    // Some of Intel's processors take longer for its instruction than for the four float32 ones
    // that do the same: a matter of twice or half, so one look is enough. The bits are the same.
    {"avx512bf16", &avx512::table, &avx512bf16::bf16, &avx512vnni::int8, &avx512::elementwise_layer,
     [] { return has_vnni() && __builtin_cpu_supports("avx512bf16"); },
     [] { return seconds(avx512bf16::bf16) < seconds(avx512::bf16); }},
    {"avx512vnni", &avx512::table, &avx512::bf16, &avx512vnni::int8, &avx512::elementwise_layer,
     [] { return has_vnni(); }},
    {"avx512", &avx512::table, &avx512::bf16, &avx512::int8, &avx512::elementwise_layer,
     [] { return __builtin_cpu_supports("x86-64-v4") != 0; }},
    {"avx2", &avx2::table, &avx2::bf16, &avx2::int8, &avx2::elementwise_layer,
     [] { return __builtin_cpu_supports("x86-64-v3") != 0; }},
#endif
    {"base", &base::table, &base::bf16, &base::int8, &base::elementwise_layer, [] { return true; }},
};

const Candidate& choose() {
  const char* wanted = std::getenv("FUSED_RNN_ISA");
  std::string known;
  for (const Candidate& candidate : kCandidates) {
    const std::string name = candidate.name;
    known += (known.empty() ? "" : ", ") + name;
    if (wanted == nullptr || *wanted == 0) {
      if (candidate.available() && candidate.worth_it()) return candidate;
    } else if (name == wanted) {
      if (candidate.available()) return candidate;
      throw std::runtime_error("FUSED_RNN_ISA=" + name + ": this processor does not have it");
    }
  }
  throw std::runtime_error("FUSED_RNN_ISA: expected one of " + known + ", got " + wanted);
}

const Candidate& chosen() {
  static const Candidate& candidate = choose();
  return candidate;
}

}  // namespace

const Backend& cpu_backend() { return *chosen().table; }

const Bf16Kernels& bf16_kernels() { return *chosen().bf16; }
const char* cpu_bf16_kernels() { return bf16_kernels().name; }

const Int8Kernels& int8_kernels() { return *chosen().int8; }
const char* cpu_int8_kernels() { return int8_kernels().name; }

const ElementwiseLayerKernels& elementwise_layer_kernels() { return *chosen().elementwise_layer; }

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
    if (candidate.available()) names.push_back(candidate.name);
  }
  return names;
}

}  // namespace fused_rnn
