// Recurrent layers large enough that the blocks of the persistent kernels (cuda/rnn/persistent.h)
// have to wait for each other, in every precision. The wide ones have weights in shared memory;
// they need FUSED_RNN_CUDA_PATH=persistent and, on native/cuda_host, 132 multiprocessors.
#include "test/backends.h"
#include "test/rnn_run.h"

namespace fused_rnn::test {

void add_whole_loop_cases(Cases& cases) {
  struct Named {
    const char* name;
    CellKind cell;
  };
  struct Size {
    const char* name;
    int64_t hidden, directions;
    std::vector<int32_t> sizes;
  };
  struct Rounding {
    const char* name;
    Fp32Precision precision;
  };
  // Several unit tiles, the last of which is not full, and groups; where there is room for one
  // group only, as on native/cuda_host, several tiles of rows.
  const Size layers[] = {{"unit tiles", 40, 1, std::vector<int32_t>(7, 13)},
                         {"groups, packed", 40, 2, {37, 37, 34, 20, 20, 3, 1}},
                         {"row tiles, packed", 100, 2, {36, 36, 30, 17, 9}}};
  for (const auto& [cell_name, cell] :
       {Named{"RNN tanh", CellKind::rnn_tanh}, {"GRU", CellKind::gru}, {"LSTM", CellKind::lstm}}) {
    for (const auto& [size_name, hidden, directions, sizes] : layers) {
      for (const auto& [precision_name, precision] : {Rounding{"ieee", Fp32Precision::ieee},
                                                      {"tf32", Fp32Precision::tf32},
                                                      {"bf16", Fp32Precision::bf16}}) {
        add_rnn(cases, {.name = "whole loop: " + std::string(cell_name) + ", " + size_name + ", " +
                                precision_name,
                        .cell = cell,
                        .layers = 1,
                        .directions = directions,
                        .input = 5,
                        .hidden = hidden,
                        .proj = 0,
                        .bias = true,
                        .sizes = sizes,
                        .states = true,
                        .precision = precision});
      }
    }
  }
  struct Wide {
    const char* name;
    CellKind cell;
    int64_t hidden;
    Fp32Precision precision;
  };
  for (const auto& [name, cell, hidden, precision] :
       {Wide{"GRU, 1030, tf32", CellKind::gru, 1030, Fp32Precision::tf32},
        Wide{"LSTM, 800, bf16", CellKind::lstm, 800, Fp32Precision::bf16},
        Wide{"LSTM, 1100, bf16", CellKind::lstm, 1100, Fp32Precision::bf16}}) {
    add_rnn(cases, {.name = std::string("wide loop: ") + name,
                    .cell = cell,
                    .layers = 1,
                    .directions = 1,
                    .input = 3,
                    .hidden = hidden,
                    .proj = 0,
                    .bias = true,
                    .sizes = {2, 1},
                    .states = true,
                    .precision = precision});
  }
}

}  // namespace fused_rnn::test
