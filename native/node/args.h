// Reading the arguments of a native call, in order. The TypeScript side has checked shapes and
// types for the user; the checks here keep a mistake there from becoming a wild access.
#pragma once

#include <napi.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <string>
#include <vector>

#include "core/storage.h"
#include "node/addon.h"
#include "ops/ops.h"

namespace fused_rnn::node {

// What a JavaScript handle points to.
struct Handle {
  Buffer buffer;
  std::shared_ptr<JsMemory> memory;
  // Made when the handle is first given up, to keep it for another buffer.
  napi_ref self = nullptr;
};

class Args {
 public:
  explicit Args(const Napi::CallbackInfo& info) : info_(info) {}

  Napi::Env env() const { return info_.Env(); }

  // A tensor's buffer.
  Buffer buffer() { return unwrap(next()); }
  // Null or undefined gives an empty buffer.
  Buffer optional_buffer() {
    Napi::Value value = next();
    return value.IsNull() || value.IsUndefined() ? Buffer{} : unwrap(value);
  }
  // An array of buffers, each of which may be null.
  std::vector<Buffer> buffers() { return buffers_of(next()); }
  // Null gives none.
  std::vector<Buffer> optional_buffers() {
    Napi::Value value = next();
    return value.IsNull() ? std::vector<Buffer>{} : buffers_of(value);
  }
  std::vector<Buffer> buffers_of(const Napi::Value& value) const {
    if (!value.IsArray()) fail("an array of buffers");
    auto array = value.As<Napi::Array>();
    std::vector<Buffer> result(array.Length());
    for (uint32_t i = 0; i < array.Length(); ++i) {
      Napi::Value item = array[i];
      if (!item.IsNull() && !item.IsUndefined()) result[i] = unwrap(item);
    }
    return result;
  }
  // As many arguments from here on, all float32.
  std::vector<Buffer> tensors(size_t count) {
    expect_left(count);
    std::vector<Buffer> result(count);
    for (Buffer& tensor : result) {
      tensor = buffer();
      expect(tensor, tensor.length);
    }
    return result;
  }
  std::vector<double> numbers(size_t count) {
    expect_left(count);
    std::vector<double> result(count);
    for (double& value : result) value = number();
    return result;
  }
  // The last `count` arguments, each of which may be null. Does not move on.
  std::vector<Buffer> last_buffers(size_t count) const {
    expect_left(count);
    std::vector<Buffer> result(count);
    for (size_t i = 0; i < count; ++i) {
      Napi::Value value = info_[info_.Length() - count + i];
      if (!value.IsNull()) result[i] = unwrap(value);
    }
    return result;
  }
  // How many arguments there are from here on.
  size_t left() const { return info_.Length() - std::min(next_, info_.Length()); }
  // A whole number >= 0.
  int64_t size() {
    const double number = this->number();
    if (!(number >= 0) || number != std::floor(number) || number > 9007199254740991.0) {
      fail("a size");
    }
    return static_cast<int64_t>(number);
  }
  double number() {
    Napi::Value value = next();
    if (!value.IsNumber()) fail("a number");
    return value.As<Napi::Number>().DoubleValue();
  }
  int64_t integer() { return whole(number()); }
  // By its number: float32, int32, boolean.
  DType dtype() {
    const int64_t number = size();
    if (number > static_cast<int64_t>(DType::boolean)) fail("a type of elements");
    return static_cast<DType>(number);
  }
  bool boolean() {
    Napi::Value value = next();
    if (!value.IsBoolean()) fail("a boolean");
    return value.As<Napi::Boolean>().Value();
  }
  std::string text() {
    Napi::Value value = next();
    if (!value.IsString()) fail("a string");
    return value.As<Napi::String>().Utf8Value();
  }
  std::vector<int64_t> integers() {
    Napi::Value value = next();
    if (!value.IsArray()) fail("an array of whole numbers");
    auto array = value.As<Napi::Array>();
    std::vector<int64_t> result(array.Length());
    for (uint32_t i = 0; i < array.Length(); ++i) {
      result[i] = whole(Napi::Value(array[i]).ToNumber().DoubleValue());
    }
    return result;
  }
  Napi::Value value() { return next(); }
  // The active sequences of every step: a number of steps of the whole batch each, or an Int32Array.
  std::vector<int32_t> batch_sizes(int64_t batch) {
    Napi::Value value = next();
    if (value.IsNumber()) {
      return std::vector<int32_t>(static_cast<size_t>(value.As<Napi::Number>().Int64Value()),
                                  static_cast<int32_t>(batch));
    }
    auto array = value.As<Napi::Int32Array>();
    return {array.Data(), array.Data() + array.ElementLength()};
  }

  // Throws unless the buffer is absent or holds exactly `length` elements of `dtype`.
  void expect(const Buffer& buffer, int64_t length, DType dtype = DType::float32) const {
    if (!buffer) return;
    if (buffer.length != length || buffer.dtype != dtype) {
      throw Napi::TypeError::New(env(), "internal: argument buffer has " +
                                            std::to_string(buffer.length) + " elements, expected " +
                                            std::to_string(length) +
                                            (buffer.dtype != dtype ? " of another type" : ""));
    }
  }

  // Throws unless its elements are float32 or int32.
  void expect_number(const Buffer& buffer) const {
    if (buffer.dtype == DType::boolean) {
      throw Napi::TypeError::New(env(), "internal: an argument buffer of booleans");
    }
  }

  // Throws unless every element that `shape` reaches through `strides` from `offset` on lies within
  // the buffer, and the dimensions are no more than kernels take.
  void expect_reach(const Buffer& buffer, const std::vector<int64_t>& shape,
                    const std::vector<int64_t>& strides, int64_t offset = 0) const {
    int64_t first = offset, last = offset;
    bool empty = false;
    for (size_t d = 0; d < shape.size() && d < strides.size(); ++d) {
      empty = empty || shape[d] <= 0;
      (strides[d] < 0 ? first : last) += (shape[d] - 1) * strides[d];
    }
    if (shape.size() > kMaxDims || strides.size() != shape.size() ||
        (!empty && (first < 0 || last >= buffer.length))) {
      throw Napi::RangeError::New(env(), "internal: a layout reaches beyond its buffer");
    }
  }

 private:
  int64_t whole(double number) const {
    if (!(std::abs(number) <= 9007199254740991.0)) fail("a whole number");
    return static_cast<int64_t>(number);
  }
  Napi::Value next() { return info_[next_++]; }
  void expect_left(size_t count) const {
    if (count > left()) throw Napi::TypeError::New(env(), "internal: arguments are missing");
  }
  [[noreturn]] void fail(const char* expected) const {
    throw Napi::TypeError::New(env(), "internal: argument " + std::to_string(next_) +
                                          " of a native call must be " + expected);
  }
  Buffer unwrap(Napi::Value value) const {
    if (!value.IsExternal()) fail("a buffer");
    const Buffer& buffer = value.As<Napi::External<Handle>>().Data()->buffer;
    if (!buffer) throw Napi::TypeError::New(env(), "this tensor has been disposed");
    return buffer;
  }

  const Napi::CallbackInfo& info_;
  size_t next_ = 0;
};

// Throws unless an operation that only the CPU has is called there.
inline void expect_cpu(const Args& args, const Executor& executor) {
  if (executor.device == nullptr) return;
  throw Napi::TypeError::New(args.env(), "internal: an operation of the CPU, called on a GPU");
}

template <Entry entry>
Napi::Value call_entry(const Napi::CallbackInfo& info) {
  Args args(info);
  try {
    return entry(*static_cast<Addon*>(info.Data()), args);
  } catch (const Napi::Error&) {
    throw;
  } catch (const std::exception& e) {
    throw Napi::RangeError::New(info.Env(), e.what());
  }
}

template <Entry entry>
void add_entry(Napi::Env env, Napi::Object exports, const char* name, Addon* addon) {
  exports.Set(name, Napi::Function::New<&call_entry<entry>>(env, name, addon));
}

}  // namespace fused_rnn::node
