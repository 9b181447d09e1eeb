#include "core/errors.h"

#include <stdexcept>
#include <string>

namespace fused_rnn {

void fail_index(const char* op, int64_t index, int64_t position, int64_t limit, const char* what) {
  throw std::out_of_range("[" + std::string(op) + "] index " + std::to_string(index) +
                          " at position " + std::to_string(position) + " is out of range for " +
                          std::to_string(limit) + " " + what);
}

}  // namespace fused_rnn
