// How a thread waits for another: it looks out for a moment, which is all it takes where each has a
// processor of its own, then lets others run between two looks, and goes to sleep in the end.
#pragma once

#include <chrono>
#include <thread>

#if defined(__SSE2__)
#include <immintrin.h>
#endif

namespace fused_rnn {

// A short rest inside a loop that waits for another thread.
inline void pause_thread() {
#if defined(__SSE2__)
  _mm_pause();
#elif defined(__aarch64__)
  // `yield` does nothing on most of them; this takes about as long as x86's instruction.
  asm volatile("isb" ::: "memory");
#endif
}

// Waits until `ready` holds or about `long_enough` has passed; returns whether it holds. So many
// looks are taken without letting others run.
template <class Ready>
bool wait_a_while(Ready ready, std::chrono::microseconds long_enough, int looks = 1000) {
  for (int i = 0; i < looks; ++i) {
    if (ready()) return true;
    pause_thread();
  }
  const auto end = std::chrono::steady_clock::now() + long_enough;
  do {
    if (ready()) return true;
    std::this_thread::yield();
  } while (std::chrono::steady_clock::now() < end);
  return ready();
}

}  // namespace fused_rnn
