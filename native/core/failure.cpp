#include "core/failure.h"

#include <stdexcept>
#include <string>

namespace fused_rnn {

std::string index_message(const char* op, const char* name, int64_t position, int64_t value,
                          int64_t limit) {
  return "[" + std::string(op) + "] " + name + "[" + std::to_string(position) +
         "]: expected a whole number of at least 0 and below " + std::to_string(limit) + ", got " +
         std::to_string(value);
}

void fail_index(const char* op, const char* name, int64_t position, int64_t value, int64_t limit) {
  throw std::runtime_error(index_message(op, name, position, value, limit));
}

std::string finite_message(int64_t number, int64_t tensor, bool nan) {
  if (number < 0) {
    return "[clipGradNorm] errorIfNonfinite: expected finite gradients, got " +
           std::string(nan ? "NaN" : "infinity") + " in gradient " + std::to_string(tensor - 1) +
           " of those that there are";
  }
  return "[checkFinite] " + std::to_string(number) + ", " + std::to_string(tensor) +
         ": expected finite numbers, got " + (nan ? "NaN" : "infinity");
}

void fail_finite(int64_t number, int64_t tensor, bool nan) {
  throw std::runtime_error(finite_message(number, tensor, nan));
}

void fail(const char* op, const char* text) {
  throw std::runtime_error("[" + std::string(op) + "] " + text);
}

}  // namespace fused_rnn
