// Element types of tensors.
#pragma once

#include <cstdint>

namespace fused_rnn {

enum class DType : uint8_t { float32, int32 };

}  // namespace fused_rnn
