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
#include <string>
#include <vector>

namespace {

constexpr napi_type_tag kTag = {FUSED_RNN_CAPSULE_TAG_LOWER, FUSED_RNN_CAPSULE_TAG_UPPER};

// ---- The two ends of an exchange: any addon has these ------------------------------------------

// A capsule with a tensor that is this addon's to give. One that nobody empties is collected.
Napi::Value give(Napi::Env env, DLManagedTensor* tensor) {
  auto external = Napi::External<FusedRnnCapsule>::New(env, new FusedRnnCapsule{tensor},
                                                       [](Napi::Env, FusedRnnCapsule* capsule) {
                                                         fused_rnn_delete(fused_rnn_take(capsule));
                                                         delete capsule;
                                                       });
  external.TypeTag(&kTag);
  return external;
}

// The tensor in a capsule, which is this addon's to delete from now on.
DLManagedTensor* take(const Napi::Value& value) {
  const Napi::Env env = value.Env();
  if (!value.IsExternal() || !value.As<Napi::External<FusedRnnCapsule>>().CheckTypeTag(&kTag)) {
    throw Napi::TypeError::New(env, "expected a capsule of toDlpack()");
  }
  DLManagedTensor* tensor = fused_rnn_take(value.As<Napi::External<FusedRnnCapsule>>().Data());
  if (tensor == nullptr) throw Napi::TypeError::New(env, "somebody has emptied this capsule");
  return tensor;
}

// ---- Memory of its own --------------------------------------------------------------------------

std::atomic<int> live_arrays{0};

struct Samples {
  std::vector<float> values;
  int64_t shape[1];
  DLManagedTensor managed;
};

Napi::Value sine(const Napi::CallbackInfo& info) {
  const int64_t n = info[0].ToNumber().Int64Value();
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
  return give(info.Env(), &samples->managed);
}

Napi::Value live(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), live_arrays);
}

// ---- Somebody else's memory ---------------------------------------------------------------------

Napi::Value rectify(const Napi::CallbackInfo& info) {
  DLManagedTensor* managed = take(info[0]);
  const DLTensor& tensor = managed->dl_tensor;
  if (tensor.device.device_type != kDLCPU || tensor.dtype.code != kDLFloat ||
      tensor.dtype.bits != 32) {
    fused_rnn_delete(managed);
    throw Napi::TypeError::New(info.Env(), "expected float32 on the CPU");
  }
  // fused-rnn's tensors are contiguous; other libraries' have strides to look at.
  int64_t n = 1;
  for (int d = 0; d < tensor.ndim; ++d) n *= tensor.shape[d];
  auto* values = reinterpret_cast<float*>(static_cast<char*>(tensor.data) + tensor.byte_offset);
  for (int64_t i = 0; i < n; ++i) values[i] = std::fabs(values[i]);
  return give(info.Env(), managed);
}

Napi::Object init(Napi::Env env, Napi::Object exports) {
  exports.Set("sine", Napi::Function::New(env, sine));
  exports.Set("rectify", Napi::Function::New(env, rectify));
  exports.Set("live", Napi::Function::New(env, live));
  return exports;
}

}  // namespace

NODE_API_MODULE(waves, init)
