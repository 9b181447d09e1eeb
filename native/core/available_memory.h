// How much memory the process may still take.
#pragma once

#include <cstddef>

namespace fused_rnn {

// Bytes that can be taken without swapping and without exceeding the limit of the process's control
// group (a container's, a service's), whichever is less; the largest number where nobody says.
// Reads files: some tens of microseconds.
size_t available_memory();

}  // namespace fused_rnn
