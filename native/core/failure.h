// Errors of kernels whose text depends on data. Kept out of the kernels, which are compiled once
// per instruction set and must not share code of the standard library's templates.
#pragma once

#include <cstdint>
#include <string>

namespace fused_rnn {

// "[op] name[position]: expected a whole number of at least 0 and below limit, got value".
std::string index_message(const char* op, const char* name, int64_t position, int64_t value,
                          int64_t limit);

// Throws it as a std::runtime_error.
[[noreturn]] void fail_index(const char* op, const char* name, int64_t position, int64_t value,
                             int64_t limit);

// "[checkFinite] number, tensor: expected finite numbers, got NaN", or "got infinity";
// clipGradNorm's message where the number is below 0.
std::string finite_message(int64_t number, int64_t tensor, bool nan);
[[noreturn]] void fail_finite(int64_t number, int64_t tensor, bool nan);

// Throws std::runtime_error "[op] text".
[[noreturn]] void fail(const char* op, const char* text);

}  // namespace fused_rnn
