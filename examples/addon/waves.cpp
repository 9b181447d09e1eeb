// An addon that knows nothing of fused-rnn but the header fused_rnn/c.h, and shares tensors with
// it:
//
//   sine(n)             n samples in memory of this addon's own
//   rectify(capsule)    works in place on somebody's tensor, and hands the same memory on
//   live()              how many of its own arrays have not been given back
#include <fused_rnn/c.h>
#include <napi.h>

#include <atomic>
#include <cmath>
#include <cstdint>
#include <exception>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace {

constexpr napi_type_tag kTag = {FUSED_RNN_CAPSULE_TAG_LOWER, FUSED_RNN_CAPSULE_TAG_UPPER};

// A function of this addon as Node calls it. An exception that leaves it and is none of
// node-addon-api's, such as a vector's std::bad_alloc, would end the process.
template <Napi::Value (*function)(const Napi::CallbackInfo&)>
Napi::Value guarded(const Napi::CallbackInfo& info) {
  try {
    return function(info);
  } catch (const Napi::Error&) {
    throw;
  } catch (const std::exception& e) {
    throw Napi::Error::New(info.Env(), e.what());
  }
}

// ---- The two ends of an exchange: any addon has these ------------------------------------------

struct Deleter {
  void operator()(DLManagedTensor* tensor) const { fused_rnn_delete(tensor); }
};
// A tensor that this addon has to give up, or to give on.
using Owned = std::unique_ptr<DLManagedTensor, Deleter>;

// A capsule with a tensor that is this addon's to give. One that nobody empties is collected.
Napi::Value give(Napi::Env env, Owned tensor) {
  auto capsule = std::make_unique<FusedRnnCapsule>(FusedRnnCapsule{nullptr});
  auto external = Napi::External<FusedRnnCapsule>::New(env, capsule.get(),
                                                       [](Napi::Env, FusedRnnCapsule* capsule) {
                                                         fused_rnn_delete(fused_rnn_take(capsule));
                                                         delete capsule;
                                                       });
  // The external's from here on.
  capsule.release()->tensor = tensor.release();
  external.TypeTag(&kTag);
  return external;
}

// The tensor in a capsule, which is this addon's from now on.
Owned take(const Napi::Value& value) {
  const Napi::Env env = value.Env();
  if (!value.IsExternal() || !value.As<Napi::External<FusedRnnCapsule>>().CheckTypeTag(&kTag)) {
    throw Napi::TypeError::New(env, "expected a capsule of toDlpack()");
  }
  Owned tensor(fused_rnn_take(value.As<Napi::External<FusedRnnCapsule>>().Data()));
  if (tensor == nullptr) throw Napi::TypeError::New(env, "somebody has emptied this capsule");
  return tensor;
}

// ---- Memory of its own --------------------------------------------------------------------------

std::atomic<int> live_arrays{0};

constexpr double kMostSamples = 1 << 28;

struct Samples {
  std::vector<float> values;
  int64_t shape[1];
  DLManagedTensor managed;
};

Napi::Value sine(const Napi::CallbackInfo& info) {
  if (!info[0].IsNumber()) throw Napi::TypeError::New(info.Env(), "n: expected a number");
  const double number = info[0].As<Napi::Number>().DoubleValue();
  if (!(number >= 0 && number <= kMostSamples && number == std::floor(number))) {
    throw Napi::RangeError::New(info.Env(), "n: expected a whole number between 0 and 2 ** 28");
  }
  const auto n = static_cast<int64_t>(number);
  auto* samples = new Samples{std::vector<float>(static_cast<size_t>(n)), {n}, {}};
  for (int64_t i = 0; i < n; ++i) {
    samples->values[static_cast<size_t>(i)] = std::sin(static_cast<float>(i));
  }
  DLTensor& tensor = samples->managed.dl_tensor;
  tensor.data = samples->values.data();
  tensor.device = {kDLCPU, 0};
  tensor.ndim = 1;
  tensor.dtype = {kDLFloat, 32, 1};
  tensor.shape = samples->shape;
  samples->managed.manager_ctx = samples;
  // Called when fused-rnn needs the memory no more; on any thread.
  samples->managed.deleter = [](DLManagedTensor* self) {
    delete static_cast<Samples*>(self->manager_ctx);
    live_arrays -= 1;
  };
  live_arrays += 1;
  return give(info.Env(), Owned(&samples->managed));
}

Napi::Value live(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), live_arrays);
}

// ---- Somebody else's memory ---------------------------------------------------------------------

Napi::Value rectify(const Napi::CallbackInfo& info) {
  Owned managed = take(info[0]);  // given up where an error is thrown
  const DLTensor& tensor = managed->dl_tensor;
  if (tensor.device.device_type != kDLCPU || tensor.dtype.code != kDLFloat ||
      tensor.dtype.bits != 32 || tensor.dtype.lanes != 1) {
    throw Napi::TypeError::New(info.Env(), "expected float32 on the CPU");
  }
  // fused-rnn's tensors are contiguous, and so have to be other libraries'.
  int64_t n = 1;
  for (int d = tensor.ndim - 1; d >= 0; --d) {
    if (tensor.strides != nullptr && tensor.shape[d] != 1 && tensor.strides[d] != n) {
      throw Napi::TypeError::New(info.Env(), "expected a contiguous tensor");
    }
    n *= tensor.shape[d];
  }
  auto* values = reinterpret_cast<float*>(static_cast<char*>(tensor.data) + tensor.byte_offset);
  for (int64_t i = 0; i < n; ++i) values[i] = std::fabs(values[i]);
  return give(info.Env(), std::move(managed));
}

Napi::Object init(Napi::Env env, Napi::Object exports) {
  exports.Set("sine", Napi::Function::New(env, guarded<sine>));
  exports.Set("rectify", Napi::Function::New(env, guarded<rectify>));
  exports.Set("live", Napi::Function::New(env, guarded<live>));
  return exports;
}

}  // namespace

NODE_API_MODULE(waves, init)
