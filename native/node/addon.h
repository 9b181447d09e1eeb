// The addon's state for one JavaScript environment (the main thread or a worker_thread): its queue,
// and the promises that wait for it. Nothing here is shared between environments.
#pragma once

#include <napi.h>

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <mutex>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "core/queue.h"
#include "core/storage.h"
#include "fused_rnn/backend.h"

namespace fused_rnn::node {

class Args;
struct Handle;

class Addon : public Napi::Addon<Addon> {
 public:
  Addon(Napi::Env env, Napi::Object exports);

  const Backend& backend() const { return backend_; }
  Queue& queue() { return queue_; }

  // A JavaScript handle that owns a share of the buffer's storage. V8 is told of the storage's
  // bytes for as long as there is any handle to it, so that the garbage collector knows what
  // dropped handles are worth.
  Napi::Value wrap(Buffer buffer);
  // Gives up a handle's share. Doing it twice is fine.
  static void release(Napi::Env env, Handle& handle);

  // An array of handles; null for an absent buffer.
  Napi::Value wrap_all(const std::vector<Buffer>& buffers);

  // Puts run(backend, context) on the queue. `reads` and `writes` are for the error rule of
  // core/queue.h; whatever `run` uses it must capture, which also keeps it alive.
  template <class F>
  void enqueue(const char* op, const std::vector<Buffer>& reads, const std::vector<Buffer>& writes,
               F run) {
    Job job;
    job.op = op;
    job.reads = storages(reads);
    job.writes = storages(writes);
    job.run = [run = std::move(run), reads, writes, this](Context& context) mutable {
      run(backend_, context);
    };
    queue_.push(std::move(job));
  }

  // A promise that settles with `value` (an object or undefined) when the queue has come here and
  // work() has run there, or rejects with the first error since the last promise.
  Napi::Promise when_done(Napi::Env env, const char* op, const std::vector<Buffer>& reads,
                          Napi::Value value, std::function<void()> work);

  // A promise for room in the queue, or null when there is room now.
  Napi::Value when_room(Napi::Env env);

 private:
  struct Pending {
    Napi::Promise::Deferred deferred;
    Napi::ObjectReference value;  // empty: undefined
  };

  static std::vector<Storage*> storages(const std::vector<Buffer>& buffers);
  uint64_t add_pending(Napi::Env env, Napi::Value value);
  void settle(uint64_t id, std::string error);  // from the worker
  void deliver(Napi::Env env);                  // on the script's thread
  void shut_down();

  const Napi::Env env_;
  const Backend& backend_;
  Queue queue_;
  Napi::ThreadSafeFunction wake_script_;
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
void register_memory(Napi::Env env, Napi::Object exports, Addon* addon);
void register_pointwise(Napi::Env env, Napi::Object exports, Addon* addon);
void register_reduce(Napi::Env env, Napi::Object exports, Addon* addon);
void register_shape(Napi::Env env, Napi::Object exports, Addon* addon);
void register_matmul(Napi::Env env, Napi::Object exports, Addon* addon);
void register_linear(Napi::Env env, Napi::Object exports, Addon* addon);
void register_gather(Napi::Env env, Napi::Object exports, Addon* addon);
void register_recurrent(Napi::Env env, Napi::Object exports, Addon* addon);
void register_random(Napi::Env env, Napi::Object exports, Addon* addon);
void register_loss(Napi::Env env, Napi::Object exports, Addon* addon);
void register_optim(Napi::Env env, Napi::Object exports, Addon* addon);

}  // namespace fused_rnn::node

#include "node/args.h"
