// Says which kernels of whole loops there are, by their shares of a layer, with their threads and
// the shared memory that their launches ask for: scripts/check-cuda.sh, which knows the rest, works
// out how many blocks a multiprocessor has room for.
#include <cstdio>
#include <typeinfo>

#include "cells/weights.h"
#include "cuda/rnn/persistent_kernels.h"

namespace fused_rnn::cuda {
namespace {

void list_shares(CellKind kind) {
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
    if (fused_rnn::traits_of(kind).norms) continue;
    fused_rnn::cuda::list_shares(kind);
  }
}
