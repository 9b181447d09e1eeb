#include "engine/dlpack.h"

#include <memory>
#include <stdexcept>
#include <string>

namespace fused_rnn {
namespace {

struct Exported {
  DLManagedTensor managed;
  Buffer buffer;
  std::vector<int64_t> shape, strides;
};

[[noreturn]] void refuse(const std::string& expected, const std::string& got) {
  throw std::invalid_argument("expected " + expected + ", got " + got);
}

DType dtype_of(const DLDataType& type) {
  if (type.bits == 32 && type.lanes == 1) {
    if (type.code == kDLFloat) return DType::float32;
    if (type.code == kDLInt) return DType::int32;
  }
  if (type.code == kDLBool && type.bits == 8 && type.lanes == 1) return DType::boolean;
  refuse("float32, int32 or bool", "type code " + std::to_string(type.code) + " of " +
                                       std::to_string(type.bits) + " bits and " +
                                       std::to_string(type.lanes) + " lanes");
}

// How many elements; as many as JavaScript can count.
int64_t elements_of(const std::vector<int64_t>& shape) {
  constexpr int64_t kMost = int64_t{1} << 51;
  int64_t elements = 1;
  for (int64_t size : shape) {
    if (size < 0) refuse("sizes of at least 0", std::to_string(size));
    if (size > 0 && elements > kMost / size) refuse("fewer elements", "more than 2^51");
    elements *= size;
  }
  return elements;
}

void check_contiguous(const DLTensor& tensor) {
  if (tensor.strides == nullptr) return;
  int64_t stride = 1;
  for (int32_t d = tensor.ndim - 1; d >= 0; --d) {
    if (tensor.shape[d] != 1 && tensor.strides[d] != stride) {
      refuse("a contiguous, row-major tensor", "stride " + std::to_string(tensor.strides[d]) +
                                                   " in place of " + std::to_string(stride) +
                                                   " in dimension " + std::to_string(d));
    }
    stride *= tensor.shape[d];
  }
}

}  // namespace

DLManagedTensor* export_dlpack(const Buffer& buffer, const std::vector<int64_t>& shape,
                               int64_t device) {
  auto exported = std::make_unique<Exported>();
  exported->buffer = buffer;
  buffer.storage->exported = true;
  exported->shape = shape;
  exported->strides.resize(shape.size());
  int64_t stride = 1;
  for (size_t d = shape.size(); d-- > 0; stride *= shape[d]) exported->strides[d] = stride;
  DLTensor& tensor = exported->managed.dl_tensor;
  tensor.data = buffer.raw();
  tensor.device.device_type =
      static_cast<decltype(tensor.device.device_type)>(device < 0 ? kDLCPU : kDLCUDA);
  tensor.device.device_id = device < 0 ? 0 : static_cast<int32_t>(device);
  tensor.ndim = static_cast<int32_t>(shape.size());
  const auto code = buffer.dtype == DType::boolean ? kDLBool
                    : buffer.dtype == DType::int32 ? kDLInt
                                                   : kDLFloat;
  tensor.dtype = {static_cast<uint8_t>(code), static_cast<uint8_t>(8 * size_of(buffer.dtype)), 1};
  tensor.shape = exported->shape.data();
  tensor.strides = exported->strides.data();
  tensor.byte_offset = 0;
  exported->managed.manager_ctx = exported.get();
  exported->managed.deleter = [](DLManagedTensor* self) {
    delete static_cast<Exported*>(self->manager_ctx);
  };
  return &exported.release()->managed;
}

int64_t dlpack_device(const DLTensor& tensor) {
  if (tensor.device.device_type == kDLCPU) return -1;
  if (tensor.device.device_type == kDLCUDA && tensor.device.device_id >= 0) {
    return tensor.device.device_id;
  }
  refuse("memory of the CPU or a CUDA device",
         "device type " + std::to_string(tensor.device.device_type) + ", number " +
             std::to_string(tensor.device.device_id));
}

Imported import_dlpack(DLManagedTensor* managed, const Executor& executor) {
  const DLTensor& tensor = managed->dl_tensor;
  const DType dtype = dtype_of(tensor.dtype);
  if (tensor.ndim < 0 || tensor.ndim > kMaxDims) {
    refuse("at most " + std::to_string(kMaxDims) + " dimensions", std::to_string(tensor.ndim));
  }
  const std::vector<int64_t> shape(tensor.shape, tensor.shape + tensor.ndim);
  const int64_t length = elements_of(shape);
  if (length > 0) check_contiguous(tensor);
  char* data = static_cast<char*>(tensor.data) + tensor.byte_offset;
  if (length > 0 && tensor.data == nullptr) refuse("a pointer to the values", "none");
  if (reinterpret_cast<uintptr_t>(data) % static_cast<size_t>(size_of(dtype)) != 0)
    refuse("values at a multiple of 4 bytes", "others");

  std::shared_ptr<void> owner(
      managed, [](void* self) { fused_rnn_delete(static_cast<DLManagedTensor*>(self)); });
  if (length == 0) return {Buffer::make(0, dtype, executor.device), shape};
  const auto bytes = static_cast<size_t>(length * size_of(dtype));
  auto storage = std::make_shared<Storage>(std::move(owner), data, bytes, executor.device);
  return {Buffer{std::move(storage), 0, length, dtype}, shape};
}

}  // namespace fused_rnn
