#include "cuda_host/fibers.h"

#include <cstdint>
#include <cstdlib>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif
#if !defined(__x86_64__) && !defined(__aarch64__)
#include <ucontext.h>
#endif

namespace cuda_host {
namespace {

#if defined(__SANITIZE_ADDRESS__)
constexpr size_t kStackBytes = size_t{256} << 10;
#else
constexpr size_t kStackBytes = size_t{64} << 10;
#endif

}  // namespace

// ---- The switch: saves what a call must keep, exchanges the stacks
// ----------------------------------

#if defined(__x86_64__)
extern "C" void fused_rnn_cuda_host_switch(void** from, void* to);
asm(R"(
.text
.hidden fused_rnn_cuda_host_switch
.globl fused_rnn_cuda_host_switch
.type fused_rnn_cuda_host_switch, @function
fused_rnn_cuda_host_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size fused_rnn_cuda_host_switch, . - fused_rnn_cuda_host_switch
)");
// The first switch "returns" to `entry` on the new stack, with rbx as it was pushed.
extern "C" void fused_rnn_cuda_host_entry();
asm(R"(
.text
.hidden fused_rnn_cuda_host_entry
.globl fused_rnn_cuda_host_entry
.type fused_rnn_cuda_host_entry, @function
fused_rnn_cuda_host_entry:
  movq %rbx, %rdi
  call *%r12
  ud2
.size fused_rnn_cuda_host_entry, . - fused_rnn_cuda_host_entry
)");
void* first_frame(char* stack, void (*start)(Fiber*), Fiber* self) {
  auto** top = reinterpret_cast<void**>(stack + kStackBytes);
  *--top = nullptr;
  *--top = nullptr;  // the entry's call finds the stack aligned to 16 bytes
  *--top = reinterpret_cast<void*>(&fused_rnn_cuda_host_entry);
  *--top = nullptr;                         // rbp
  *--top = self;                            // rbx
  *--top = reinterpret_cast<void*>(start);  // r12
  *--top = nullptr;
  *--top = nullptr;
  *--top = nullptr;  // r13 to r15
  return top;
}
#elif defined(__aarch64__)
extern "C" void fused_rnn_cuda_host_switch(void** from, void* to);
asm(R"(
.text
.hidden fused_rnn_cuda_host_switch
.globl fused_rnn_cuda_host_switch
.type fused_rnn_cuda_host_switch, %function
fused_rnn_cuda_host_switch:
  sub sp, sp, #160
  stp x19, x20, [sp, #0]
  stp x21, x22, [sp, #16]
  stp x23, x24, [sp, #32]
  stp x25, x26, [sp, #48]
  stp x27, x28, [sp, #64]
  stp x29, x30, [sp, #80]
  stp d8, d9, [sp, #96]
  stp d10, d11, [sp, #112]
  stp d12, d13, [sp, #128]
  stp d14, d15, [sp, #144]
  mov x2, sp
  str x2, [x0]
  mov sp, x1
  ldp x19, x20, [sp, #0]
  ldp x21, x22, [sp, #16]
  ldp x23, x24, [sp, #32]
  ldp x25, x26, [sp, #48]
  ldp x27, x28, [sp, #64]
  ldp x29, x30, [sp, #80]
  ldp d8, d9, [sp, #96]
  ldp d10, d11, [sp, #112]
  ldp d12, d13, [sp, #128]
  ldp d14, d15, [sp, #144]
  add sp, sp, #160
  ret
)");
extern "C" void fused_rnn_cuda_host_entry();
asm(R"(
.text
.hidden fused_rnn_cuda_host_entry
.globl fused_rnn_cuda_host_entry
.type fused_rnn_cuda_host_entry, %function
fused_rnn_cuda_host_entry:
  mov x0, x19
  blr x20
  brk #0
)");
void* first_frame(char* stack, void (*start)(Fiber*), Fiber* self) {
  auto** top = reinterpret_cast<void**>(stack + kStackBytes) - 20;
  for (int i = 0; i < 20; ++i) top[i] = nullptr;
  top[0] = self;                                                  // x19
  top[1] = reinterpret_cast<void*>(start);                        // x20
  top[11] = reinterpret_cast<void*>(&fused_rnn_cuda_host_entry);  // x30
  return top;
}
#else
void fused_rnn_cuda_host_switch(void** from, void* to) {
  ucontext_t here;
  *from = &here;
  swapcontext(&here, static_cast<ucontext_t*>(to));
}
void start_context(unsigned high, unsigned low, unsigned f_high, unsigned f_low) {
  const auto join = [](unsigned a, unsigned b) { return uint64_t{a} << 32 | b; };
  reinterpret_cast<void (*)(Fiber*)>(join(f_high, f_low))(
      reinterpret_cast<Fiber*>(join(high, low)));
}
void* first_frame(char* stack, void (*start)(Fiber*), Fiber* self) {
  // At the low end of the stack, which the fiber does not reach.
  auto* context = reinterpret_cast<ucontext_t*>(stack);
  getcontext(context);
  context->uc_stack.ss_sp = stack + sizeof(ucontext_t);
  context->uc_stack.ss_size = kStackBytes - sizeof(ucontext_t);
  context->uc_link = nullptr;
  const auto a = reinterpret_cast<uint64_t>(self), f = reinterpret_cast<uint64_t>(start);
  makecontext(context, reinterpret_cast<void (*)()>(&start_context), 4,
              static_cast<unsigned>(a >> 32), static_cast<unsigned>(a),
              static_cast<unsigned>(f >> 32), static_cast<unsigned>(f));
  return context;
}
#endif

Fiber::Fiber() : stack_(static_cast<char*>(std::aligned_alloc(64, kStackBytes))) {}
Fiber::~Fiber() { std::free(stack_); }

void Fiber::prepare(void (*body)(void*), void* argument) {
  body_ = body;
  argument_ = argument;
  // One that has returned waits in start() for the next.
  if (inside_ == nullptr) inside_ = first_frame(stack_, &Fiber::start, this);
}

void Fiber::start(Fiber* self) {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(nullptr, &self->outer_stack_, &self->outer_stack_bytes_);
#endif
  for (;;) {
    self->body_(self->argument_);
    self->leave();
  }
}

void Fiber::enter() {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(&outer_fake_stack_, stack_, kStackBytes);
#endif
  fused_rnn_cuda_host_switch(&outside_, inside_);
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(outer_fake_stack_, nullptr, nullptr);
#endif
}

void Fiber::leave() {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(&fake_stack_, outer_stack_, outer_stack_bytes_);
#endif
  fused_rnn_cuda_host_switch(&inside_, outside_);
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(fake_stack_, &outer_stack_, &outer_stack_bytes_);
#endif
}

}  // namespace cuda_host
