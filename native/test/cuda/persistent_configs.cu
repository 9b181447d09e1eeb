// Prints the configurations of the persistent kernels, with the threads and the dynamic shared
// memory of their launches: scripts/check-cuda.sh, which knows the rest, works out how many blocks
// a multiprocessor holds.
#include <cstdio>
#include <typeinfo>

#include "cells/weights.h"
#include "cuda/rnn/persistent_kernels.h"

namespace fused_rnn::cuda {
namespace {

void list_configs(CellKind kind) {
  with_cell(kind, [](auto cell) {
    for_each_config<decltype(cell)>([](size_t, auto config) {
      using Config = decltype(config);
      std::printf("%s: %d %zu\n", typeid(Config).name(), kPersistentThreads, Config::kSharedBytes);
    });
  });
}

}  // namespace
}  // namespace fused_rnn::cuda

int main() {
  for (const fused_rnn::CellKind kind : fused_rnn::kCells) {
    if (!fused_rnn::traits_of(kind).plain_steps) continue;
    fused_rnn::cuda::list_configs(kind);
  }
}
