// Devices: moving values between them, waiting for them, and what the engine says of itself.
#include <condition_variable>
#include <mutex>

#include "core/allocator.h"
#include "core/trace.h"
#include "node/addon.h"

namespace fused_rnn::node {
namespace {

// One queue waits for a job of another.
class Gate {
 public:
  void open() {
    {
      std::lock_guard lock(mutex_);
      open_ = true;
    }
    opened_.notify_all();
  }
  bool is_open() const {
    std::lock_guard lock(mutex_);
    return open_;
  }
  void wait(const Context& context) {
    std::unique_lock lock(mutex_);
    while (!opened_.wait_for(lock, std::chrono::milliseconds(20), [&] { return open_; })) {
      context.check_stop();
    }
  }

 private:
  mutable std::mutex mutex_;
  std::condition_variable opened_;
  bool open_ = false;
};

// Held by the job that is waited for: the gate opens when the job is over, whether it has run, was
// left out or has been dropped.
struct Opener {
  explicit Opener(std::shared_ptr<Gate> gate) : gate(std::move(gate)) {}
  ~Opener() { gate->open(); }
  Opener(const Opener&) = delete;
  Opener& operator=(const Opener&) = delete;
  std::shared_ptr<Gate> gate;
};

// From where it lies into `host`.
void push_copy_to_host(Addon& addon, const Buffer& from, const Buffer& host,
                       std::shared_ptr<Gate> gate) {
  auto opener = std::make_shared<Opener>(std::move(gate));
  Executor& executor = addon.executor_of({from}, {});
  if (executor.device == nullptr) {
    return addon.enqueue(
        "to", cost::elements(from.length), {from}, {host},
        [from, host, opener = std::move(opener)](const Backend& backend, Context& context) {
          backend.copy({host.raw(), from.raw(), static_cast<int64_t>(host.bytes())}, context);
        });
  }
  Job job;
  job.op = "to";
  job.reads = {from};
  job.writes = {host};
  job.settles = true;
  job.run = [from, host, opener = std::move(opener)](Context& context) {
    context.device->download(host.raw(), from.raw(), host.storage->bytes());
  };
  executor.queue.push(std::move(job));
}

void push_wait(Queue& queue, std::shared_ptr<Gate> gate) {
  Job job;
  job.op = "to";
  job.run = [gate = std::move(gate)](Context& context) { gate->wait(context); };
  queue.push(std::move(job));
}

// toDevice(buffer, device) → a buffer there with the same values. What failed on the way here fails
// there.
Napi::Value to_device(Addon& addon, Args& args) {
  const Buffer from = args.buffer();
  Executor& target = addon.executor(args.integer());
  const Buffer host = Buffer::make(from.length, from.dtype);
  const auto gate = std::make_shared<Gate>();
  push_copy_to_host(addon, from, host, gate);
  if (!gate->is_open()) push_wait(target.queue, gate);
  if (target.device == nullptr) return addon.wrap(host);
  const Buffer out = Buffer::make(from.length, from.dtype, target.device);
  Job job;
  job.op = "to";
  job.reads = {host};
  job.writes = {out};
  job.run = [host, out](Context& context) {
    context.device->upload(out.raw(), host.raw(), host.storage->bytes());
  };
  target.queue.push(std::move(job));
  return addon.wrap(out);
}

// synchronize(device): undefined, or a promise of it.
Napi::Value synchronize(Addon& addon, Args& args) {
  Executor& executor = addon.executor(args.integer());
  return addon.when_done(args.env(), executor, 0, {}, args.env().Undefined(), [] {});
}

// room(): a promise for room in the queues, or null when there is room now.
Napi::Value room(Addon& addon, Args& args) { return addon.when_room(args.env()); }

// takeError(): the message of the first failure that no promise has reported yet, or null. Called
// when the event loop has turned.
Napi::Value take_error(Addon& addon, Args& args) {
  addon.loop_has_turned();
  const std::string error = addon.take_error();
  if (error.empty()) return args.env().Null();
  return Napi::String::New(args.env(), error);
}

Napi::Value set_threads(Addon& addon, Args& args) {
  addon.cpu().queue.set_threads(static_cast<int>(args.size()));
  return args.env().Undefined();
}

// setPrecision(matmul, rnn, bf16Matmul, bf16Rnn): what a GPU computes products in, as
// Fp32Precision, and whether the CPU rounds their factors to bfloat16.
Napi::Value set_precision(Addon& addon, Args& args) {
  const auto matmul = static_cast<Fp32Precision>(args.size());
  const auto rnn = static_cast<Fp32Precision>(args.size());
  const bool bf16_matmul = args.boolean(), bf16_rnn = args.boolean();
  addon.set_precision({matmul, rnn});
  addon.cpu().precision = {bf16_matmul, bf16_rnn};
  return args.env().Undefined();
}

// memory(device): bytes and blocks; zeros for a GPU that has not been used.
Napi::Value memory(Addon& addon, Args& args) {
  const int64_t number = args.integer();
  MemoryStats stats{};
  if (number < 0) {
    stats = host_memory_stats();
  } else if (const Executor* executor = addon.open_executor(number)) {
    stats = executor->device->memory_stats();
  }
  auto result = Napi::Object::New(args.env());
  result.Set("liveBytes", static_cast<double>(stats.live_bytes));
  result.Set("peakBytes", static_cast<double>(stats.peak_bytes));
  result.Set("cachedBytes", static_cast<double>(stats.cached_bytes));
  result.Set("liveBuffers", static_cast<double>(stats.live_blocks));
  return result;
}

// cuda(): the GPUs, or why there are none.
Napi::Value cuda(Addon&, Args& args) {
  const CudaInfo& info = cuda_info();
  auto devices = Napi::Array::New(args.env(), info.devices.size());
  for (size_t i = 0; i < info.devices.size(); ++i) {
    const CudaDeviceInfo& gpu = info.devices[i];
    auto device = Napi::Object::New(args.env());
    device.Set("name", gpu.name);
    device.Set("memoryBytes", static_cast<double>(gpu.memory_bytes));
    device.Set("major", gpu.major);
    device.Set("minor", gpu.minor);
    device.Set("multiprocessors", gpu.multiprocessors);
    devices.Set(static_cast<uint32_t>(i), device);
  }
  auto result = Napi::Object::New(args.env());
  result.Set("missing", info.missing);
  result.Set("runtime", info.runtime);
  result.Set("driver", info.driver);
  result.Set("devices", devices);
  return result;
}

// cublasMissing(): why cuBLAS cannot be used, or an empty string.
Napi::Value cublas_missing(Addon&, Args& args) {
  return Napi::String::New(args.env(), fused_rnn::cublas_missing());
}

Napi::Array strings(Napi::Env env, const std::vector<std::string>& values) {
  auto result = Napi::Array::New(env, values.size());
  for (size_t i = 0; i < values.size(); ++i) result.Set(static_cast<uint32_t>(i), values[i]);
  return result;
}

// info(): what the engine runs on.
Napi::Value info(Addon& addon, Args& args) {
  auto result = Napi::Object::New(args.env());
  result.Set("features", strings(args.env(), cpu_features()));
  result.Set("isas", strings(args.env(), cpu_instruction_sets()));
  result.Set("isa", addon.cpu().backend.name);
  result.Set("bf16", cpu_bf16_kernels());
  result.Set("int8", cpu_int8_kernels());
  result.Set("threads", addon.cpu().queue.threads());
  const ThreadChoice& choice = default_threads();
  result.Set("threadsAtStart", choice.threads);
  result.Set("threadsWhy", choice.why);
  result.Set("threadsWarning", choice.warning);
  return result;
}

// usableProcessors(root, processes): for tests, with a folder that stands for the system's proc/
// and sys/ → { count, why }
Napi::Value usable_processors(Addon&, Args& args) {
  const std::string root = args.text();
  const auto [count, why] = fused_rnn::usable_processors(static_cast<int>(args.integer()), root);
  auto result = Napi::Object::New(args.env());
  result.Set("count", count);
  result.Set("why", why);
  return result;
}

// startTrace(device) → the clock of the events, in milliseconds
Napi::Value start_trace(Addon& addon, Args& args) {
  trace::start(&addon.executor(args.integer()).queue);
  return Napi::Number::New(args.env(), static_cast<double>(trace::now()) / 1e6);
}

// takeTrace(device) → { ops, here, times: begin and end of each in milliseconds, dropped }
Napi::Value take_trace(Addon& addon, Args& args) {
  const trace::Taken taken = trace::take(&addon.executor(args.integer()).queue);
  const size_t count = taken.events.size();
  auto ops = Napi::Array::New(args.env(), count);
  auto here = Napi::Uint8Array::New(args.env(), count);
  auto times = Napi::Float64Array::New(args.env(), 2 * count);
  for (size_t i = 0; i < count; ++i) {
    const trace::Event& event = taken.events[i];
    ops.Set(static_cast<uint32_t>(i), event.op);
    here[i] = event.here ? 1 : 0;
    times[2 * i] = static_cast<double>(event.begin) / 1e6;
    times[2 * i + 1] = static_cast<double>(event.end) / 1e6;
  }
  auto result = Napi::Object::New(args.env());
  result.Set("ops", ops);
  result.Set("here", here);
  result.Set("times", times);
  result.Set("dropped", static_cast<double>(taken.dropped));
  return result;
}

// shutDown(): when the JavaScript program ends. What is outstanding is dropped.
Napi::Value shut_down(Addon& addon, Args& args) {
  addon.shut_down();
  return args.env().Undefined();
}

}  // namespace

void register_devices(Napi::Env env, Napi::Object exports, Addon* addon) {
  add_entry<to_device>(env, exports, "toDevice", addon);
  add_entry<synchronize>(env, exports, "synchronize", addon);
  add_entry<room>(env, exports, "room", addon);
  add_entry<take_error>(env, exports, "takeError", addon);
  add_entry<set_threads>(env, exports, "setThreads", addon);
  add_entry<set_precision>(env, exports, "setPrecision", addon);
  add_entry<memory>(env, exports, "memory", addon);
  add_entry<cuda>(env, exports, "cuda", addon);
  add_entry<cublas_missing>(env, exports, "cublasMissing", addon);
  add_entry<info>(env, exports, "info", addon);
  add_entry<usable_processors>(env, exports, "usableProcessors", addon);
  add_entry<shut_down>(env, exports, "shutDown", addon);
  add_entry<start_trace>(env, exports, "startTrace", addon);
  add_entry<take_trace>(env, exports, "takeTrace", addon);
}

}  // namespace fused_rnn::node
