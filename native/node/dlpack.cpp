// Tensors to and from other libraries, without a copy: N-API externals as fused_rnn/c.h says.
#include "engine/dlpack.h"

#include <memory>
#include <stdexcept>
#include <string>

#include "node/addon.h"

namespace fused_rnn::node {
namespace {

constexpr napi_type_tag kTag = {FUSED_RNN_CAPSULE_TAG_LOWER, FUSED_RNN_CAPSULE_TAG_UPPER};

void finalize(Napi::Env, FusedRnnCapsule* capsule) {
  fused_rnn_delete(fused_rnn_take(capsule));
  delete capsule;
}

// Null when the value is something else.
FusedRnnCapsule* capsule_in(const Napi::Value& value) {
  if (!value.IsExternal()) return nullptr;
  const auto external = value.As<Napi::External<FusedRnnCapsule>>();
  return external.CheckTypeTag(&kTag) ? external.Data() : nullptr;
}

// Runs f(); what is wrong with a tensor names the function.
template <class F>
auto named(F f) {
  try {
    return f();
  } catch (const std::invalid_argument& e) {
    throw std::invalid_argument(std::string("[fromDlpack] capsule: ") + e.what());
  }
}

// toDlpack(buffer, shape, device): a capsule, or a promise of it.
Napi::Value to_dlpack(Addon& addon, Args& args) {
  const Buffer buffer = args.buffer();
  const std::vector<int64_t> shape = args.integers();
  const int64_t device = args.integer();
  auto owned = std::make_unique<FusedRnnCapsule>();
  FusedRnnCapsule* capsule = owned.get();
  const auto external = Napi::External<FusedRnnCapsule>::New(args.env(), capsule, finalize);
  owned.release();
  external.TypeTag(&kTag);
  // The pending promise holds the external, and that the capsule.
  return addon.when_done(args.env(), addon.executor_of({buffer}, {}), cost::elements(buffer.length),
                         {buffer}, external,
                         [=] { capsule->tensor = export_dlpack(buffer, shape, device); });
}

// dlpackDevice(value): the device's number; null of a capsule whose tensor somebody has taken;
// undefined of anything else.
Napi::Value dlpack_device(Addon&, Args& args) {
  const FusedRnnCapsule* capsule = capsule_in(args.value());
  if (capsule == nullptr) return args.env().Undefined();
  if (capsule->tensor == nullptr) return args.env().Null();
  const auto number = named([&] { return fused_rnn::dlpack_device(capsule->tensor->dl_tensor); });
  return Napi::Number::New(args.env(), static_cast<double>(number));
}

// fromDlpack(capsule) → [buffer, shape, dtype]; takes the tensor out of a capsule that has
// one.
Napi::Value from_dlpack(Addon& addon, Args& args) {
  FusedRnnCapsule* capsule = capsule_in(args.value());
  DLManagedTensor* tensor = capsule->tensor;
  Executor& executor = addon.executor(fused_rnn::dlpack_device(tensor->dl_tensor));
  const Imported imported = named([&] { return import_dlpack(tensor, executor); });
  fused_rnn_take(capsule);
  auto shape = Napi::Array::New(args.env(), imported.shape.size());
  for (size_t i = 0; i < imported.shape.size(); ++i) {
    shape.Set(static_cast<uint32_t>(i), static_cast<double>(imported.shape[i]));
  }
  auto result = Napi::Array::New(args.env(), 3);
  result.Set(0U, addon.wrap(imported.buffer));
  result.Set(1U, shape);
  result.Set(2U, Napi::Number::New(args.env(), static_cast<int>(imported.buffer.dtype)));
  return result;
}

}  // namespace

void register_dlpack(Napi::Env env, Napi::Object exports, Addon* addon) {
  add_entry<to_dlpack>(env, exports, "toDlpack", addon);
  add_entry<dlpack_device>(env, exports, "dlpackDevice", addon);
  add_entry<from_dlpack>(env, exports, "fromDlpack", addon);
}

}  // namespace fused_rnn::node
