// Stacks that take turns on one thread: the threads of a block.
#pragma once

#include <cstddef>

namespace cuda_host {

class Fiber {
 public:
  Fiber();
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  // Begins, or goes on with, body(argument) until it calls leave() or returns. From outside of all
  // fibers.
  void enter();
  // What the next enter() begins. Only for one that has not begun or has returned.
  void prepare(void (*body)(void*), void* argument);
  // Back to the caller of enter(); from within this fiber.
  void leave();

 private:
  static void start(Fiber* self);

  void (*body_)(void*) = nullptr;
  void* argument_ = nullptr;
  char* stack_;
  void* inside_ = nullptr;  // saved stack pointers, or contexts
  void* outside_ = nullptr;
  // For AddressSanitizer.
  void* fake_stack_ = nullptr;
  void* outer_fake_stack_ = nullptr;
  const void* outer_stack_ = nullptr;
  size_t outer_stack_bytes_ = 0;
};

}  // namespace cuda_host
