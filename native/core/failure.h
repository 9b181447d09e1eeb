// Errors of kernels whose text depends on data. Kept out of the kernels, which are compiled once
// per instruction set and must not share code of the standard library's templates.
#pragma once

#include <cstdint>

namespace fused_rnn {

// Throws std::runtime_error "[op] name[position]: expected a whole number of at least 0 and below
// limit, got value".
[[noreturn]] void fail_index(const char* op, const char* name, int64_t position, int64_t value,
                             int64_t limit);

// Throws std::runtime_error "[op] text".
[[noreturn]] void fail(const char* op, const char* text);

}  // namespace fused_rnn
