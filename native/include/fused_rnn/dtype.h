// Element types of tensors.
#pragma once

#include <cstdint>

namespace fused_rnn {

enum class DType : uint8_t { float32, int32, boolean };

// Bytes of an element. A boolean is a byte, 0 or 1.
constexpr int64_t size_of(DType dtype) { return dtype == DType::boolean ? 1 : 4; }

}  // namespace fused_rnn
