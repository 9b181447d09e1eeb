// Buffers and reading back.
#include <cstring>

#include "core/allocator.h"
#include "node/addon.h"

namespace fused_rnn::node {
namespace {

struct Values {
  DType dtype;
  const void* data;
};

// What a typed array holds. Not through array.ArrayBuffer(), which refuses shared memory.
Values values_of(Args& args, Napi::TypedArray array) {
  switch (array.TypedArrayType()) {
    case napi_float32_array:
      return {DType::float32, array.As<Napi::Float32Array>().Data()};
    case napi_int32_array:
      return {DType::int32, array.As<Napi::Int32Array>().Data()};
    case napi_uint8_array:
      return {DType::boolean, array.As<Napi::Uint8Array>().Data()};
    default:
      throw Napi::TypeError::New(args.env(), "internal: a typed array of another type");
  }
}

// upload(typedArray, device, length): copies now, so that the caller may change the array
// afterwards.
Napi::Value upload(Addon& addon, Args& args) {
  auto array = args.value().As<Napi::TypedArray>();
  const auto [dtype, from] = values_of(args, array);
  Executor& executor = addon.executor(args.integer());
  const auto length = static_cast<int64_t>(array.ElementLength());
  const int64_t expected = args.size();
  if (length != expected) {
    throw std::runtime_error("values: expected " + std::to_string(expected) +
                             " numbers, got an array of " + std::to_string(length));
  }
  return addon.wrap(fused_rnn::upload(executor, from, length, dtype));
}

// allocate(length, dtype): host memory for values that fillPart brings; until then they are
// anything.
Napi::Value allocate(Addon& addon, Args& args) {
  const int64_t length = args.size();
  const DType dtype = args.dtype();
  return addon.wrap(Buffer::make(length, dtype));
}

// fillPart(buffer, offset, typedArray): into a buffer of allocate() that nothing has used yet.
Napi::Value fill_part(Addon&, Args& args) {
  const Buffer to = args.buffer();
  const int64_t offset = args.size();
  auto array = args.value().As<Napi::TypedArray>();
  const auto length = static_cast<int64_t>(array.ElementLength());
  const auto [dtype, from] = values_of(args, array);
  if (offset + length > to.length || to.dtype != dtype || to.storage->device() != nullptr) {
    throw Napi::TypeError::New(args.env(), "internal: fillPart of something else");
  }
  if (length > 0) {
    std::memcpy(static_cast<char*>(to.raw()) + offset * size_of(dtype), from,
                static_cast<size_t>(length * size_of(dtype)));
  }
  return args.env().Undefined();
}

// clone(buffer) → a buffer of its own with the same values
Napi::Value clone(Addon& addon, Args& args) {
  Buffer from = args.buffer();
  Buffer to = from.beside(from.length, from.dtype);
  addon.enqueue(pure("clone"), cost::elements(to.length), {from}, {to},
                [=](const Backend& backend, Context& context) {
                  backend.copy({to.raw(), from.raw(), static_cast<int64_t>(to.bytes())}, context);
                });
  return addon.wrap(to);
}

// view(buffer, offset, length): a window that shares the storage.
Napi::Value view(Addon& addon, Args& args) {
  Buffer buffer = args.buffer();
  const int64_t offset = args.size();
  const int64_t length = args.size();
  if (offset + length > buffer.length) {
    throw Napi::RangeError::New(args.env(), "internal: view beyond its buffer");
  }
  buffer.offset += offset;
  buffer.length = length;
  return addon.wrap(std::move(buffer));
}

// copyInto(to, from): when `from` was never filled because of an error, `to` stays as it is.
Napi::Value copy_into(Addon& addon, Args& args) {
  Buffer to = args.buffer();
  Buffer from = args.buffer();
  args.expect(from, to.length, to.dtype);
  addon.enqueue("copyInto", cost::elements(to.length), {from}, {},
                [=](const Backend& backend, Context& context) {
                  backend.copy({to.raw(), from.raw(), static_cast<int64_t>(to.bytes()), true},
                               context);
                });
  return args.env().Undefined();
}

// release(buffer): gives up this handle's share now; the queue keeps its own until it is done.
// Nobody may use the handle afterwards.
Napi::Value release(Addon& addon, Args& args) {
  addon.release(args.value());
  return args.env().Undefined();
}

// setYoungCollector(collect)
Napi::Value set_young_collector(Addon& addon, Args& args) {
  addon.set_young_collector(args.value().As<Napi::Function>());
  return args.env().Undefined();
}

// checkAvailable(fn, bytes): throws when there is no room for an array that JavaScript will make.
Napi::Value check_available(Addon&, Args& args) {
  const std::string fn = args.text();
  host_check_available(fn.c_str(), static_cast<size_t>(args.size()));
  return args.env().Undefined();
}

// checkRoom(bytes): the same for what is about to be read from a file.
Napi::Value check_room(Addon&, Args& args) {
  host_check_room(static_cast<size_t>(args.size()));
  return args.env().Undefined();
}

Napi::TypedArray new_array(Napi::Env env, DType dtype, size_t length) {
  if (dtype == DType::boolean) return Napi::Uint8Array::New(env, length);
  if (dtype == DType::int32) return Napi::Int32Array::New(env, length);
  return Napi::Float32Array::New(env, length);
}

// read(buffer): a new typed array, or a promise of one.
Napi::Value read(Addon& addon, Args& args) {
  Buffer buffer = args.buffer();
  const auto length = static_cast<size_t>(buffer.length);
  host_check_available("data", buffer.bytes());
  Napi::TypedArray array = new_array(args.env(), buffer.dtype, length);
  // The pending promise holds the array, so its memory stays where it is.
  void* to = array.ArrayBuffer().Data();
  const int64_t cost = cost::elements(buffer.length);
  Executor& executor = addon.executor_of({buffer}, {});
  return addon.when_done(args.env(), executor, cost, {buffer}, array,
                         [buffer, to] { copy_out(buffer, to); });
}

// peek(buffer, numbers[]): these elements, or null unless they are there without waiting.
Napi::Value peek(Addon& addon, Args& args) {
  const Buffer buffer = args.buffer();
  const std::vector<int64_t> numbers = args.integers();
  Executor& executor = addon.executor_of({buffer}, {});
  const Storage& storage = *buffer.storage;
  if (!executor.queue.idle() || storage.poisoned() != nullptr || storage.deferred() != nullptr) {
    return args.env().Null();
  }
  auto result = Napi::Array::New(args.env(), numbers.size());
  for (size_t i = 0; i < numbers.size(); ++i) {
    const int64_t at = numbers[i];
    if (at < 0 || at >= buffer.length) {
      throw Napi::RangeError::New(args.env(), "internal: peek beyond its buffer");
    }
    const double value = buffer.dtype == DType::boolean ? buffer.u8()[at]
                         : buffer.dtype == DType::int32 ? buffer.i32()[at]
                                                        : buffer.f32()[at];
    result.Set(static_cast<uint32_t>(i), value);
  }
  return result;
}

}  // namespace

void register_memory(Napi::Env env, Napi::Object exports, Addon* addon) {
  add_entry<upload>(env, exports, "upload", addon);
  add_entry<allocate>(env, exports, "allocate", addon);
  add_entry<fill_part>(env, exports, "fillPart", addon);
  add_entry<clone>(env, exports, "clone", addon);
  add_entry<view>(env, exports, "view", addon);
  add_entry<copy_into>(env, exports, "copyInto", addon);
  add_entry<release>(env, exports, "release", addon);
  add_entry<set_young_collector>(env, exports, "setYoungCollector", addon);
  add_entry<check_available>(env, exports, "checkAvailable", addon);
  add_entry<check_room>(env, exports, "checkRoom", addon);
  add_entry<read>(env, exports, "read", addon);
  add_entry<peek>(env, exports, "peek", addon);
}

}  // namespace fused_rnn::node
