// A tensor's memory, on the host or on a device. Allocated when the queue first touches it, so that
// JavaScript that runs ahead of the worker does not hold memory for work that has not begun.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/allocator.h"
#include "core/device.h"
#include "fused_rnn/dtype.h"

namespace fused_rnn {

// Contents that are cheaper to use as what they are made of than to write down: one-hot rows, the
// gradient of a cross entropy. Operations that know better ask for deferred(); all others get the
// values.
class Deferred {
 public:
  virtual ~Deferred() = default;
  virtual void fill(void* data) const = 0;
};

class Storage {
 public:
  // `device`: null for the host.
  explicit Storage(size_t bytes, std::shared_ptr<Device> device = nullptr)
      : bytes_(bytes), device_(std::move(device)) {}
  // Somebody else's memory, with values in it; `owner` is given up when nobody needs it any more.
  Storage(std::shared_ptr<void> owner, void* data, size_t bytes, std::shared_ptr<Device> device)
      : data_(data), bytes_(bytes), device_(std::move(device)), owner_(std::move(owner)) {}
  ~Storage() {
    if (data_ == nullptr) return;
    if (owner_ != nullptr) {
      if (device_ != nullptr) device_->release_later(std::move(owner_));
    } else if (device_ == nullptr) {
      host_free(data_, bytes_);
    } else {
      device_->free(data_, bytes_);
    }
  }
  Storage(const Storage&) = delete;
  Storage& operator=(const Storage&) = delete;

  // Called by the creator before the storage is shared, afterwards by the queue's thread only.
  void* data() {
    if (data_ == nullptr) {
      data_ = device_ == nullptr ? host_allocate(bytes_) : device_->allocate(bytes_);
      if (deferred_) std::exchange(deferred_, nullptr)->fill(data_);
    }
    return data_;
  }
  // For the queue's thread, before there is data. Null once the values have been written.
  void defer(std::shared_ptr<const Deferred> contents) { deferred_ = std::move(contents); }
  const Deferred* deferred() const { return deferred_.get(); }
  size_t bytes() const { return bytes_; }
  const std::shared_ptr<Device>& device() const { return device_; }

  // What an operation has made of the contents, and as of which Queue::changes(). For the thread
  // that runs the queue's jobs.
  struct Derived {
    int64_t offset, rows, columns;  // of a matrix in it
    std::shared_ptr<const void> values;
  };
  std::vector<Derived> derived;
  uint64_t derived_at = 0;
  // Whether others have its address, who may write at any time.
  bool exported = false;
  bool foreign() const { return owner_ != nullptr; }

  // How many handles JavaScript has to this memory. Kept by the binding, on the JavaScript thread.
  int handles = 0;

  // Set by the queue when the operation that should have filled this storage failed.
  void poison(std::string why) { poison_ = std::make_unique<std::string>(std::move(why)); }
  const std::string* poisoned() const { return poison_.get(); }

 private:
  void* data_ = nullptr;
  size_t bytes_;
  std::shared_ptr<Device> device_;
  std::shared_ptr<void> owner_;
  std::shared_ptr<const Deferred> deferred_;
  std::unique_ptr<std::string> poison_;
};

// A contiguous window of a storage; offset and length count elements.
struct Buffer {
  std::shared_ptr<Storage> storage;
  int64_t offset = 0;
  int64_t length = 0;
  DType dtype = DType::float32;

  static Buffer make(int64_t length, DType dtype = DType::float32,
                     std::shared_ptr<Device> device = nullptr) {
    const auto bytes = static_cast<size_t>(length * size_of(dtype));
    return {std::make_shared<Storage>(bytes, std::move(device)), 0, length, dtype};
  }
  // A new one where this one lies.
  Buffer beside(int64_t length, DType dtype = DType::float32) const {
    return make(length, dtype, storage->device());
  }
  explicit operator bool() const { return storage != nullptr; }

  // What the whole storage holds, if this is all of it, it is deferred and of kind D; else null.
  template <class D>
  const D* deferred() const {
    const bool whole = storage && offset == 0 && bytes() == storage->bytes();
    return whole ? dynamic_cast<const D*>(storage->deferred()) : nullptr;
  }

  size_t bytes() const { return static_cast<size_t>(length * size_of(dtype)); }
  // Null for an absent buffer.
  float* f32() const { return static_cast<float*>(raw()); }
  int32_t* i32() const { return static_cast<int32_t*>(raw()); }
  uint8_t* u8() const { return static_cast<uint8_t*>(raw()); }
  void* raw() const {
    return storage ? static_cast<char*>(storage->data()) + offset * size_of(dtype) : nullptr;
  }
};

}  // namespace fused_rnn
