#include "node/addon.h"

#include <thread>

namespace fused_rnn::node {
namespace {

int default_threads() {
  const unsigned cores = std::thread::hardware_concurrency();
  return cores == 0 ? 1 : static_cast<int>(cores);
}

const Backend& chosen_backend(Napi::Env env) {
  try {
    return cpu_backend();
  } catch (const std::exception& e) {
    throw Napi::Error::New(env, e.what());
  }
}

}  // namespace

Addon::Addon(Napi::Env env, Napi::Object exports)
    : env_(env), backend_(chosen_backend(env)), queue_(default_threads()) {
  wake_script_ = Napi::ThreadSafeFunction::New(
      env, Napi::Function::New(env, [](const Napi::CallbackInfo&) {}), "fused-rnn", 0, 1);
  wake_script_.Unref(env);
  // Hooks run last in, first out: ours stops the worker before the thread-safe function closes.
  env.AddCleanupHook([this] { shut_down(); });
  register_memory(env, exports, this);
  register_pointwise(env, exports, this);
  register_reduce(env, exports, this);
  register_shape(env, exports, this);
  register_matmul(env, exports, this);
  register_linear(env, exports, this);
  register_gather(env, exports, this);
  register_recurrent(env, exports, this);
  register_random(env, exports, this);
  register_loss(env, exports, this);
  register_optim(env, exports, this);
}

void Addon::shut_down() { queue_.stop(); }

Napi::Value Addon::wrap(Buffer buffer) {
  auto* handle = new Handle{std::move(buffer)};
  Storage& storage = *handle->buffer.storage;
  if (storage.handles++ == 0) {
    Napi::MemoryManagement::AdjustExternalMemory(env_, static_cast<int64_t>(storage.bytes()));
  }
  return Napi::External<Handle>::New(env_, handle, [](Napi::Env env, Handle* handle) {
    release(env, *handle);
    delete handle;
  });
}

void Addon::release(Napi::Env env, Handle& handle) {
  if (!handle.buffer) return;
  Storage& storage = *handle.buffer.storage;
  if (--storage.handles == 0) {
    Napi::MemoryManagement::AdjustExternalMemory(env, -static_cast<int64_t>(storage.bytes()));
  }
  handle.buffer = {};
}

Napi::Value Addon::wrap_all(const std::vector<Buffer>& buffers) {
  auto result = Napi::Array::New(env_, buffers.size());
  for (size_t i = 0; i < buffers.size(); ++i) {
    result.Set(static_cast<uint32_t>(i), buffers[i] ? wrap(buffers[i]) : env_.Null());
  }
  return result;
}

std::vector<Storage*> Addon::storages(const std::vector<Buffer>& buffers) {
  std::vector<Storage*> result;
  result.reserve(buffers.size());
  for (const Buffer& buffer : buffers) {
    if (buffer) result.push_back(buffer.storage.get());
  }
  return result;
}

uint64_t Addon::add_pending(Napi::Env env, Napi::Value value) {
  if (pending_.empty()) wake_script_.Ref(env);
  const uint64_t id = next_pending_++;
  Pending pending{Napi::Promise::Deferred::New(env), {}};
  if (value.IsObject()) pending.value = Napi::Persistent(value.As<Napi::Object>());
  pending_.emplace(id, std::move(pending));
  return id;
}

Napi::Promise Addon::when_done(Napi::Env env, const char* op, const std::vector<Buffer>& reads,
                               Napi::Value value, std::function<void()> work) {
  const uint64_t id = add_pending(env, value);
  Napi::Promise promise = pending_.at(id).deferred.Promise();
  Job job;
  job.op = op;
  job.reads = storages(reads);
  job.report = [this, id, reads, work = std::move(work)](Context&, const std::string* inherited) {
    std::string error = queue_.take_error();
    if (error.empty() && inherited != nullptr) error = *inherited;
    if (error.empty()) {
      try {
        work();
      } catch (const std::exception& e) {
        error = e.what();
      }
    }
    settle(id, std::move(error));
  };
  queue_.push(std::move(job));
  return promise;
}

Napi::Value Addon::when_room(Napi::Env env) {
  const uint64_t id = add_pending(env, env.Undefined());
  if (queue_.when_room([this, id] { settle(id, queue_.take_error()); })) {
    return pending_.at(id).deferred.Promise();
  }
  pending_.erase(id);
  if (pending_.empty()) wake_script_.Unref(env);
  return env.Null();
}

void Addon::settle(uint64_t id, std::string error) {
  bool first;
  {
    std::lock_guard lock(settled_mutex_);
    first = settled_.empty();
    settled_.emplace_back(id, std::move(error));
  }
  if (!first) return;  // the call that is under way will deliver this one too
  wake_script_.NonBlockingCall([this](Napi::Env env, Napi::Function) {
    if (env != nullptr) deliver(env);
  });
}

void Addon::deliver(Napi::Env env) {
  std::vector<std::pair<uint64_t, std::string>> settled;
  {
    std::lock_guard lock(settled_mutex_);
    settled.swap(settled_);
  }
  Napi::HandleScope scope(env);
  for (auto& [id, error] : settled) {
    auto found = pending_.find(id);
    Pending pending = std::move(found->second);
    pending_.erase(found);
    if (pending_.empty()) wake_script_.Unref(env);
    if (error.empty()) {
      pending.deferred.Resolve(pending.value.IsEmpty() ? env.Undefined()
                                                       : Napi::Value(pending.value.Value()));
    } else {
      pending.deferred.Reject(Napi::Error::New(env, error).Value());
    }
  }
}

}  // namespace fused_rnn::node

namespace {
using Addon = fused_rnn::node::Addon;
NODE_API_ADDON(Addon)
}  // namespace
