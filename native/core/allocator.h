// Host memory for tensors and scratch space: 64-byte aligned, cached by size class so that a
// training loop, which asks for the same sizes every step, does not fault its pages in anew.
#pragma once

#include <cstddef>
#include <cstdint>

namespace fused_rnn {

struct MemoryStats {
  size_t live_bytes;    // handed out now
  size_t peak_bytes;    // the most ever handed out
  size_t cached_bytes;  // kept for reuse
  size_t live_blocks;
};

// Throws std::runtime_error with the size when the system, the process's control group or
// FUSED_RNN_MEMORY_LIMIT (in bytes) has no room for it. Thread-safe.
void* host_allocate(size_t bytes);
// `bytes` is the size that was asked for.
void host_free(void* data, size_t bytes) noexcept;

// FUSED_RNN_MEMORY_LIMIT: how much may be held at most. Throws when it is no number of bytes.
size_t host_memory_limit();

// Throws as host_allocate would for memory that somebody else is about to allocate; `op` is whose
// failure it is.
void host_check_available(const char* op, size_t bytes);

// The same for what is about to be read from a file, which FUSED_RNN_MEMORY_LIMIT counts as it
// counts tensors, however small it is.
void host_check_room(size_t bytes);

// How often there was no memory.
uint64_t host_failures();

// Whether there was no memory even for a small request, and there would be none now.
bool host_exhausted();

MemoryStats host_memory_stats();

}  // namespace fused_rnn
