// The addon's state for one JavaScript environment (the main thread or a worker_thread): its
// queues, one a device, and the promises that wait for them. Nothing here is shared between
// environments.
#pragma once

#include <napi.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "engine/executor.h"
#include "ops/cuda.h"

namespace fused_rnn::node {

class Args;
struct Handle;

// The bytes of the storages that JavaScript has handles to, for V8 to know what dropped handles are
// worth. It is told where JavaScript waits, not of every change: within a training step memory
// comes and goes by itself, and V8 would look for garbage all the time.
class JsMemory {
 public:
  // What is told anywhere, so much more (or less) than V8 knows of.
  static constexpr int64_t kAtOnce = int64_t{1} << 30;

  // A storage's number of handles changes by one.
  void count(Storage& storage, int change);
  void tell(napi_env env, int64_t at_least);
  // Where JavaScript waits. V8 looks for garbage when it hears of 64 MB: some ten milliseconds,
  // with threads of its own that take the cores from training. So it hears of them five times a
  // second at most, while no more than 128 MB have come together.
  void tell_between_steps(napi_env env);
  // Whether it is time to look for garbage among the young objects (Addon::collect_young_): 32 MB
  // more than the least since the last time, and looking takes some per cent of the time at most.
  bool young_due() const;
  // Calls `collect`, which does so.
  template <class F>
  void collect_young(F collect) {
    const auto begin = std::chrono::steady_clock::now();
    collect();
    young_end_ = std::chrono::steady_clock::now();
    young_took_ = young_end_ - begin;
    least_ = live_;
    turns_ = 0;
  }
  void loop_has_turned() { ++turns_; }
  // Has V8 look for all garbage now. What it finds is given back when the event loop turns.
  void collect(napi_env env);

 private:
  int64_t live_ = 0;
  int64_t told_ = 0;
  int64_t least_ = 0;  // of live_, since the young objects were looked through
  int turns_ = 2;      // of the event loop since then
  std::chrono::steady_clock::time_point last_told_{}, young_end_{};
  std::chrono::steady_clock::duration young_took_{};
};

class Addon : public Napi::Addon<Addon> {
 public:
  Addon(Napi::Env env, Napi::Object exports);

  // Stops the queues, as the environment ends. Idempotent.
  void shut_down();

  Executor& cpu() { return cpu_; }
  // By the number that JavaScript uses: -1 for the CPU, else a GPU's index. A GPU is opened when it
  // is first asked for; throws std::runtime_error when it is not there.
  Executor& executor(int64_t number);
  // The same if it is open, else null.
  Executor* open_executor(int64_t number);
  // Where these buffers lie, some of which may be absent. Throws std::runtime_error unless that is
  // one executor.
  Executor& executor_of(Buffers reads, Buffers writes) {
    return gpus_.empty() ? cpu_ : find_executor(reads, writes);
  }
  // Those that are open, the CPU's first.
  std::vector<Executor*> executors();

  void set_precision(CudaPrecision precision);
  void set_young_collector(Napi::Function collect) { collect_young_ = Napi::Persistent(collect); }

  // A JavaScript handle that owns a share of the buffer's storage.
  Napi::Value wrap(Buffer buffer);
  // Gives up a handle's share. Nobody may use the handle afterwards: wrap() may hand it out again,
  // which is much cheaper than making one.
  void release(Napi::Value handle);

  // An array of handles; null for an absent buffer.
  Napi::Value wrap_all(Buffers buffers);

  // As Executor::enqueue, on the queue of the buffers' device.
  template <class F>
  void enqueue(Op op, int64_t cost, Buffers reads, Buffers writes, F run) {
    executor_of(reads, writes).enqueue(op, cost, reads, writes, std::move(run));
  }

  // What `value` (an object, an external or undefined) becomes when the executor's queue has come
  // here and work(), of `cost`, has run: the value itself if that can be now, else a promise of it.
  // Throws, or rejects, with the executor's first error since the last report, or the one that
  // poisoned one of `reads`.
  Napi::Value when_done(Napi::Env env, Executor& executor, int64_t cost, Buffers reads,
                        Napi::Value value, std::function<void()> work);

  // A promise for room in the queues, or null when there is room now.
  Napi::Value when_room(Napi::Env env);
  // The first failure of any queue that no promise has reported yet; empty if none.
  std::string take_error();

  // To be called when the event loop has turned.
  void loop_has_turned() {
    last_turn_ = std::chrono::steady_clock::now();
    memory_->loop_has_turned();
  }

 private:
  struct Pending {
    Napi::Promise::Deferred deferred;
    Napi::ObjectReference value;  // empty: undefined
  };

  [[noreturn]] void refuse();
  void tell_between_steps(Napi::Env env);
  Executor& find_executor(Buffers reads, Buffers writes);
  bool loop_waits() const;
  uint64_t add_pending(Napi::Env env, Napi::Value value);
  bool add_settled(uint64_t id, std::string error);
  void settle(uint64_t id, std::string error);  // from the worker
  void deliver(Napi::Env env);                  // on the JavaScript thread

  const Napi::Env env_;
  Executor cpu_;
  std::vector<std::unique_ptr<Executor>> gpus_;  // by index, null where none is open
  CudaPrecision precision_;
  const std::shared_ptr<JsMemory> memory_ = std::make_shared<JsMemory>();
  uint64_t failures_seen_ = 0;
  Napi::FunctionReference collect_young_;  // has V8 look through the young objects alone
  std::vector<Handle*> spare_handles_;
  std::chrono::steady_clock::time_point last_turn_{};
  Napi::ThreadSafeFunction wake_script_;
  Napi::FunctionReference set_immediate_;
  Napi::FunctionReference deliver_;
  std::unordered_map<uint64_t, Pending> pending_;
  uint64_t next_pending_ = 0;
  std::mutex settled_mutex_;
  std::vector<std::pair<uint64_t, std::string>> settled_;
};

// Registers a function: Napi::Value f(Addon&, Args&).
using Entry = Napi::Value (*)(Addon&, Args&);
template <Entry entry>
void add_entry(Napi::Env env, Napi::Object exports, const char* name, Addon* addon);

// One per file of entries; called by the constructor.
void register_devices(Napi::Env env, Napi::Object exports, Addon* addon);
void register_memory(Napi::Env env, Napi::Object exports, Addon* addon);
void register_pointwise(Napi::Env env, Napi::Object exports, Addon* addon);
void register_reduce(Napi::Env env, Napi::Object exports, Addon* addon);
void register_shape(Napi::Env env, Napi::Object exports, Addon* addon);
void register_matmul(Napi::Env env, Napi::Object exports, Addon* addon);
void register_linear(Napi::Env env, Napi::Object exports, Addon* addon);
void register_gather(Napi::Env env, Napi::Object exports, Addon* addon);
void register_indexing(Napi::Env env, Napi::Object exports, Addon* addon);
void register_recurrent(Napi::Env env, Napi::Object exports, Addon* addon);
void register_elementwise(Napi::Env env, Napi::Object exports, Addon* addon);
void register_random(Napi::Env env, Napi::Object exports, Addon* addon);
void register_loss(Napi::Env env, Napi::Object exports, Addon* addon);
void register_sequence(Napi::Env env, Napi::Object exports, Addon* addon);
void register_optim(Napi::Env env, Napi::Object exports, Addon* addon);
void register_dlpack(Napi::Env env, Napi::Object exports, Addon* addon);
void register_distributed(Napi::Env env, Napi::Object exports, Addon* addon);

}  // namespace fused_rnn::node

#include "node/args.h"
