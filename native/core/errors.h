// Failures that kernels report. Kept out of the kernel files: those are compiled once per
// instruction set, and string code from there could be picked by the linker for everyone.
#pragma once

#include <cstdint>

namespace fused_rnn {

// "[op] index 7 at position 3 is out of range for 5 rows"
[[noreturn]] void fail_index(const char* op, int64_t index, int64_t position, int64_t limit,
                             const char* what);

}  // namespace fused_rnn
