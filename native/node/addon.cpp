#include "node/addon.h"

#include <algorithm>
#include <memory>
#include <stdexcept>

#include "core/allocator.h"

namespace fused_rnn::node {
namespace {

// What variables of the environment choose, or the error about one of them.
template <class F>
decltype(auto) chosen(Napi::Env env, F choose) {
  try {
    return choose();
  } catch (const std::exception& e) {
    throw Napi::Error::New(env, e.what());
  }
}

const Backend& chosen_backend(Napi::Env env) {
  return chosen(env, []() -> const Backend& {
    host_memory_limit();
    return cpu_backend();
  });
}

int chosen_threads(Napi::Env env) {
  return chosen(env, [] { return default_threads().threads; });
}

void check(napi_env env, napi_status status) {
  if (status != napi_ok) throw Napi::Error::New(env);
}

void finalize(napi_env env, void* data, void*) {
  std::unique_ptr<Handle> handle(static_cast<Handle*>(data));
  if (handle->self != nullptr) napi_delete_reference(env, handle->self);
  if (handle->buffer) handle->memory->count(*handle->buffer.storage, -1);
}

// JavaScript that awaits results reaches the event loop at least this often.
constexpr auto kLongestTurn = std::chrono::milliseconds(2);

// As many as a training step of a deep model gives up.
constexpr size_t kSpareHandles = 512;

}  // namespace

void JsMemory::count(Storage& storage, int change) {
  const int before = storage.handles;
  storage.handles += change;
  if (before != 0 && storage.handles != 0) return;
  const auto bytes = static_cast<int64_t>(storage.bytes());
  live_ += change * bytes;
  least_ = std::min(least_, live_);
}

void JsMemory::tell(napi_env env, int64_t at_least) {
  const int64_t change = live_ - told_;
  if (change < at_least && -change < at_least) return;
  told_ += change;  // before V8 may look for garbage and change live_
  Napi::MemoryManagement::AdjustExternalMemory(env, change);
}

void JsMemory::tell_between_steps(napi_env env) {
  constexpr int64_t kSome = int64_t{32} << 20;
  static const int64_t much =
      static_cast<int64_t>(std::clamp<size_t>(host_memory_limit() / 16, kSome, 2 * size_t{kSome}));
  const int64_t more = live_ - told_;
  if (more < kSome && -more < kSome) return;
  // What has been found among the young objects is given back in the loop's next turn but one.
  if (turns_ < 2 && more < 2 * much) return;
  const auto now = std::chrono::steady_clock::now();
  if (more > 0 && more < much && now - last_told_ < std::chrono::milliseconds(200)) return;
  last_told_ = now;
  tell(env, 0);
}

bool JsMemory::young_due() const {
  constexpr int64_t kSome = int64_t{32} << 20;
  // Times what it took.
  constexpr int kSeldom = 30, kOften = 10;
  const int64_t more = live_ - least_;
  if (more < kSome) return false;
  const int apart = more < 4 * kSome ? kSeldom : kOften;
  return std::chrono::steady_clock::now() - young_end_ >= apart * young_took_;
}

void JsMemory::collect(napi_env env) {
  tell(env, 0);
  // V8 does so when told of more than it would ever let a program have.
  constexpr int64_t kTooMuch = int64_t{1} << 46;
  Napi::MemoryManagement::AdjustExternalMemory(env, kTooMuch);
  Napi::MemoryManagement::AdjustExternalMemory(env, -kTooMuch);
}

Addon::Addon(Napi::Env env, Napi::Object exports)
    : env_(env), cpu_(chosen_backend(env), chosen_threads(env)) {
  wake_script_ = Napi::ThreadSafeFunction::New(
      env, Napi::Function::New(env, [](const Napi::CallbackInfo&) {}), "fused-rnn", 0, 1);
  wake_script_.Unref(env);
  set_immediate_ = Napi::Persistent(env.Global().Get("setImmediate").As<Napi::Function>());
  deliver_ = Napi::Persistent(
      Napi::Function::New(env, [this](const Napi::CallbackInfo& info) { deliver(info.Env()); }));
  // Hooks run last in, first out: ours stops the worker before the thread-safe function closes.
  env.AddCleanupHook([this] { shut_down(); });
  register_devices(env, exports, this);
  register_memory(env, exports, this);
  register_pointwise(env, exports, this);
  register_reduce(env, exports, this);
  register_shape(env, exports, this);
  register_matmul(env, exports, this);
  register_linear(env, exports, this);
  register_gather(env, exports, this);
  register_indexing(env, exports, this);
  register_recurrent(env, exports, this);
  register_elementwise(env, exports, this);
  register_random(env, exports, this);
  register_sequence(env, exports, this);
  register_loss(env, exports, this);
  register_optim(env, exports, this);
  register_dlpack(env, exports, this);
  register_distributed(env, exports, this);
}

void Addon::shut_down() {
  for (Executor* executor : executors()) executor->queue.stop();
}

Executor* Addon::open_executor(int64_t number) {
  if (number < 0) return &cpu_;
  const auto index = static_cast<size_t>(number);
  return index < gpus_.size() ? gpus_[index].get() : nullptr;
}

Executor& Addon::executor(int64_t number) {
  if (Executor* open = open_executor(number)) return *open;
  auto gpu = std::make_unique<Executor>(cuda_backend(), 1, open_cuda(static_cast<int>(number)));
  set_cuda_precision(*gpu->device, precision_);  // its worker has nothing to do yet
  const auto index = static_cast<size_t>(number);
  if (index >= gpus_.size()) gpus_.resize(index + 1);
  gpus_[index] = std::move(gpu);
  return *gpus_[index];
}

std::vector<Executor*> Addon::executors() {
  std::vector<Executor*> executors = {&cpu_};
  for (const auto& gpu : gpus_) {
    if (gpu != nullptr) executors.push_back(gpu.get());
  }
  return executors;
}

Executor& Addon::find_executor(Buffers reads, Buffers writes) {
  const Buffer* first = nullptr;
  for (const Buffers& buffers : {reads, writes}) {
    for (const Buffer& buffer : buffers) {
      if (!buffer) continue;
      if (first == nullptr) first = &buffer;
      if (buffer.storage->device() != first->storage->device()) {
        throw std::runtime_error("internal: an operation on buffers of several devices");
      }
    }
  }
  const Device* device = first == nullptr ? nullptr : first->storage->device().get();
  for (const auto& gpu : gpus_) {
    if (gpu != nullptr && gpu->device.get() == device) return *gpu;
  }
  return cpu_;
}

void Addon::set_precision(CudaPrecision precision) {
  precision_ = precision;
  for (Executor* executor : executors()) {
    if (executor->device == nullptr) continue;
    Job job;
    job.run = [precision](Context& context) { set_cuda_precision(*context.device, precision); };
    job.op = "setPrecision";
    executor->queue.push(std::move(job));
  }
}

Napi::Value Addon::wrap(Buffer buffer) {
  if (buffer.storage->device() == nullptr && host_exhausted()) refuse();
  memory_->count(*buffer.storage, 1);
  memory_->tell(env_, JsMemory::kAtOnce);
  if (!spare_handles_.empty()) {
    Handle* handle = spare_handles_.back();
    napi_value value;
    check(env_, napi_get_reference_value(env_, handle->self, &value));
    check(env_, napi_reference_unref(env_, handle->self, nullptr));
    spare_handles_.pop_back();
    handle->buffer = std::move(buffer);
    return {env_, value};
  }
  auto handle = std::make_unique<Handle>(Handle{std::move(buffer), memory_});
  napi_value value;
  check(env_, napi_create_external(env_, handle.get(), &finalize, nullptr, &value));
  handle.release();
  return {env_, value};
}

// Tensors that JavaScript drops are only given back by way of the event loop. One that never gets
// there has to hear of it at the call: it awaits no promise.
void Addon::refuse() {
  memory_->collect(env_);
  throw std::runtime_error(
      "out of memory: " + std::to_string(host_memory_stats().live_bytes) +
      " bytes in use; what tensors that were dropped take comes back when the program awaits "
      "something: await optimizer.step() in every step, or dispose of tensors");
}

void Addon::release(Napi::Value value) {
  Handle* handle = value.As<Napi::External<Handle>>().Data();
  if (!handle->buffer) return;
  memory_->count(*handle->buffer.storage, -1);
  handle->buffer = {};
  if (spare_handles_.size() >= kSpareHandles) return;
  const napi_status status = handle->self == nullptr
                                 ? napi_create_reference(env_, value, 1, &handle->self)
                                 : napi_reference_ref(env_, handle->self, nullptr);
  if (status == napi_ok) spare_handles_.push_back(handle);
}

Napi::Value Addon::wrap_all(Buffers buffers) {
  napi_value result;
  check(env_, napi_create_array_with_length(env_, buffers.size(), &result));
  for (size_t i = 0; i < buffers.size(); ++i) {
    const Napi::Value value = buffers[i] ? wrap(buffers[i]) : env_.Null();
    check(env_, napi_set_element(env_, result, static_cast<uint32_t>(i), value));
  }
  return {env_, result};
}

uint64_t Addon::add_pending(Napi::Env env, Napi::Value value) {
  if (pending_.empty()) wake_script_.Ref(env);
  const uint64_t id = next_pending_++;
  Pending pending{Napi::Promise::Deferred::New(env), {}};
  if (value.IsObject() || value.IsExternal())
    pending.value = Napi::Persistent(value.As<Napi::Object>());
  pending_.emplace(id, std::move(pending));
  return id;
}

// A loop of awaits that are answered at once would never let the event loop turn.
bool Addon::loop_waits() const {
  return std::chrono::steady_clock::now() - last_turn_ > kLongestTurn;
}

// Where JavaScript waits. After a failure, dropped tensors are in the way of whatever comes next.
void Addon::tell_between_steps(Napi::Env env) {
  if (!collect_young_.IsEmpty() && memory_->young_due()) {
    memory_->collect_young(
        [&] { collect_young_.Value().Call(std::initializer_list<napi_value>{}); });
  }
  const uint64_t failures = host_failures();
  if (failures == failures_seen_) return memory_->tell_between_steps(env);
  failures_seen_ = failures;
  memory_->collect(env);
}

Napi::Value Addon::when_done(Napi::Env env, Executor& executor, int64_t cost, Buffers reads,
                             Napi::Value value, std::function<void()> work) {
  Queue& queue = executor.queue;
  tell_between_steps(env);
  if (Queue::small(cost) && queue.idle() && !queue.settling()) {
    std::string error = report(queue, reads, work);
    // Promises settle in order.
    if (!pending_.empty() || loop_waits()) {
      const uint64_t id = add_pending(env, value);
      Napi::Promise promise = pending_.at(id).deferred.Promise();
      // Not by wake_script_, whose calls from this thread would all be made in one turn.
      if (add_settled(id, std::move(error))) set_immediate_.Call({deliver_.Value()});
      return promise;
    }
    if (!error.empty()) throw Napi::Error::New(env, error);
    return value;
  }
  const uint64_t id = add_pending(env, value);
  Napi::Promise promise = pending_.at(id).deferred.Promise();
  Job job;
  job.reads.assign(reads.begin(), reads.end());
  job.report = [this, &queue, work = std::move(work)](Buffers reads) {
    return report(queue, reads, work);
  };
  job.settle = [this, id](std::string error) { settle(id, std::move(error)); };
  queue.push(std::move(job));
  return promise;
}

Napi::Value Addon::when_room(Napi::Env env) {
  tell_between_steps(env);
  Queue* full = cpu_.queue.has_room() ? nullptr : &cpu_.queue;
  for (const auto& gpu : gpus_) {
    if (gpu != nullptr && !gpu->queue.has_room()) full = &gpu->queue;
  }
  if (full == nullptr) return env.Null();
  const uint64_t id = add_pending(env, env.Undefined());
  if (full->when_room([this, id, full] { settle(id, full->take_error()); })) {
    return pending_.at(id).deferred.Promise();
  }
  pending_.erase(id);
  if (pending_.empty()) wake_script_.Unref(env);
  return env.Null();
}

std::string Addon::take_error() {
  std::string error = cpu_.queue.take_error();
  for (const auto& gpu : gpus_) {
    if (error.empty() && gpu != nullptr) error = gpu->queue.take_error();
  }
  return error;
}

// False when a call of deliver() that will find this one too is under way.
bool Addon::add_settled(uint64_t id, std::string error) {
  std::lock_guard lock(settled_mutex_);
  settled_.emplace_back(id, std::move(error));
  return settled_.size() == 1;
}

void Addon::settle(uint64_t id, std::string error) {
  if (!add_settled(id, std::move(error))) return;
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
  loop_has_turned();
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
