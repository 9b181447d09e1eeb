// A backend's memory and numbers for one case.
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>

#include "test/backends.h"

namespace fused_rnn::test {

Side::~Side() {
  for (const Array& array : arrays_) {
    if (context.device != nullptr) {
      context.device->free(array.block, array.bytes);
    } else {
      delete[] array.block;
    }
  }
}

// Exactly as large as asked for (but for the shift), so that a checker of memory sees what goes
// beyond.
void* Side::allocate(const void* contents, int64_t n, DType dtype) {
  const size_t shift = static_cast<size_t>(shift_ * size_of(dtype));
  const size_t size = static_cast<size_t>(n * size_of(dtype)), bytes = size + shift;
  if (context.device == nullptr) {
    arrays_.push_back({new char[bytes], bytes});
    char* data = arrays_.back().block + shift;
    if (size > 0) std::memcpy(data, contents, size);
    return data;
  }
  if (bytes == 0) return nullptr;
  arrays_.push_back({static_cast<char*>(context.device->allocate(bytes)), bytes});
  char* data = arrays_.back().block + shift;
  if (size > 0) context.device->upload(data, contents, size);
  return data;
}

void Side::copy_out(void* to, const void* from, size_t bytes) {
  if (bytes == 0) return;
  if (context.device != nullptr) {
    context.device->download(to, from, bytes);
  } else {
    std::memcpy(to, from, bytes);
  }
}

uint64_t Side::draw() {  // xorshift
  state_ ^= state_ << 13;
  state_ ^= state_ >> 7;
  state_ ^= state_ << 17;
  return state_ >> 16;
}

float* Side::floats(int64_t n, float low, float high) {
  std::vector<float> values(static_cast<size_t>(n));
  for (float& x : values) {
    x = low + (high - low) * static_cast<float>(draw() & 0xffffff) / 16777216.0f;
  }
  return this->values(values);
}

int32_t* Side::integers(int64_t n, int32_t low, int32_t high) {
  std::vector<int32_t> values(static_cast<size_t>(n));
  const uint64_t range = static_cast<uint64_t>(int64_t{high} - low);
  for (int32_t& x : values) x = static_cast<int32_t>(low + static_cast<int64_t>(draw() % range));
  return this->values(values);
}

float* Side::values(const std::vector<float>& values) {
  return static_cast<float*>(allocate(values.data(), static_cast<int64_t>(values.size())));
}
int32_t* Side::values(const std::vector<int32_t>& values) {
  return static_cast<int32_t*>(allocate(values.data(), static_cast<int64_t>(values.size())));
}

uint8_t* Side::booleans(int64_t n) {
  std::vector<uint8_t> values(static_cast<size_t>(n));
  for (uint8_t& x : values) x = draw() & 1;
  return static_cast<uint8_t*>(allocate(values.data(), n, DType::boolean));
}

float* Side::output(const char* name, int64_t n, double tolerance) {
  const std::vector<float> nothing(static_cast<size_t>(n), std::numeric_limits<float>::quiet_NaN());
  return expect(name, values(nothing), n, tolerance);
}
int32_t* Side::integer_output(const char* name, int64_t n) {
  int32_t* array = values(std::vector<int32_t>(static_cast<size_t>(n), 0x6badf00d));
  expected_.push_back({name, DType::int32, 0, array, n});
  return array;
}
uint8_t* Side::boolean_output(const char* name, int64_t n) {
  const std::vector<uint8_t> nothing(static_cast<size_t>(n), 7);
  auto* array = static_cast<uint8_t*>(allocate(nothing.data(), n, DType::boolean));
  expected_.push_back({name, DType::boolean, 0, array, n});
  return array;
}
float* Side::expect(const char* name, float* array, int64_t n, double tolerance) {
  expected_.push_back({name, DType::float32, tolerance, array, n});
  return array;
}

std::vector<Written> Side::written() {
  std::vector<Written> all;
  for (const Expected& e : expected_) {
    Written w{e.name, e.dtype != DType::float32, e.tolerance, {}, {}};
    const auto bytes = static_cast<size_t>(e.n * size_of(e.dtype));
    if (e.dtype == DType::boolean) {
      std::vector<uint8_t> values(bytes);
      copy_out(values.data(), e.data, bytes);
      w.integers.assign(values.begin(), values.end());
    } else if (w.integer) {
      w.integers.resize(static_cast<size_t>(e.n));
      copy_out(w.integers.data(), e.data, bytes);
    } else {
      w.floats.resize(static_cast<size_t>(e.n));
      copy_out(w.floats.data(), e.data, bytes);
    }
    all.push_back(std::move(w));
  }
  return all;
}

}  // namespace fused_rnn::test
