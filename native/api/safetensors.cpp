// The format: eight bytes with the header's length, a JSON header with dtype, shape and offsets of
// every tensor, then the values. What is refused, and how, is as in ts/io/safetensors.ts.
#include "fused_rnn/safetensors.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <stdexcept>

#include "api/files.h"
#include "api/internal.h"
#include "api/json.h"
#include "api/tensor_file.h"
#include "core/allocator.h"

namespace fused_rnn {
namespace {

constexpr uint64_t kMaxHeaderBytes = 100'000'000;
constexpr size_t kMaxTensors = 65'536;
constexpr const char* kMetadata = "__metadata__";

using Entry = TensorEntry;

[[noreturn]] void fail(const std::string& what) { throw std::runtime_error(what); }

// A whole number that a double counts exactly; -1 for anything else.
int64_t size_in(const Json& json) {
  const double* number = json.as<double>();
  if (number == nullptr || !(*number >= 0) || *number > 9007199254740991.0 ||
      *number != std::floor(*number)) {
    return -1;
  }
  return static_cast<int64_t>(*number);
}

Entry entry_of(const std::string& name, const Json& json, size_t data_bytes) {
  const std::string quoted = "'" + name + "'";
  const auto* members = json.as<Json::Object>();
  if (members == nullptr) fail(quoted + " is not an object");
  for (const auto& [key, _] : *members) {
    if (key != "dtype" && key != "shape" && key != "data_offsets") {
      fail(quoted + " has an unknown key '" + key + "'");
    }
  }
  Entry entry{name, DType::float32, {}, 0, 0};
  const Json* dtype = json.find("dtype");
  const std::string* type = dtype == nullptr ? nullptr : dtype->as<std::string>();
  if (type == nullptr) fail(quoted + " has no dtype");
  if (*type == "I32") {
    entry.dtype = DType::int32;
  } else if (*type == "BOOL") {
    entry.dtype = DType::boolean;
  } else if (*type != "F32") {
    fail(quoted + " has the dtype '" + *type + "'; known here are F32, I32, BOOL");
  }
  const Json* shape = json.find("shape");
  const auto* sizes = shape == nullptr ? nullptr : shape->as<Json::Array>();
  if (sizes == nullptr) fail(quoted + " has no shape of whole numbers");
  for (const Json& size : *sizes) {
    entry.shape.push_back(size_in(size));
    if (entry.shape.back() < 0) fail(quoted + " has no shape of whole numbers");
  }
  const Json* offsets = json.find("data_offsets");
  const auto* pair = offsets == nullptr ? nullptr : offsets->as<Json::Array>();
  if (pair == nullptr || pair->size() != 2 || size_in((*pair)[0]) < 0 || size_in((*pair)[1]) < 0) {
    fail(quoted + " has no data_offsets of two whole numbers");
  }
  entry.begin = static_cast<size_t>(size_in((*pair)[0]));
  entry.end = static_cast<size_t>(size_in((*pair)[1]));
  if (entry.begin > entry.end || entry.end > data_bytes) {
    fail(quoted + " lies at bytes " + std::to_string(entry.begin) + " to " +
         std::to_string(entry.end) + " of " + std::to_string(data_bytes) + " bytes of data");
  }
  const auto bytes = static_cast<size_t>(elements_of(quoted, entry.shape) * size_of(entry.dtype));
  if (bytes != entry.end - entry.begin) {
    fail(quoted + " of shape " + text_of(entry.shape) + " needs " + std::to_string(bytes) +
         " bytes, and has " + std::to_string(entry.end - entry.begin));
  }
  return entry;
}

// Every byte of the data belongs to exactly one tensor.
void check_cover(std::vector<Entry> entries, size_t data_bytes) {
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    return a.begin != b.begin ? a.begin < b.begin : a.end < b.end;
  });
  size_t at = 0;
  for (const Entry& entry : entries) {
    if (entry.begin < at) {
      fail("'" + entry.name + "' overlaps another tensor at byte " + std::to_string(entry.begin));
    }
    if (entry.begin > at) break;
    at = entry.end;
  }
  if (at != data_bytes) fail("the data after byte " + std::to_string(at) + " belong to no tensor");
}

}  // namespace

TensorFile::TensorFile(const std::filesystem::path& path) : file_(path) {
  const size_t size = file_.size();
  if (size < 8) fail("a file of " + std::to_string(size) + " bytes is too short");
  uint8_t head[9] = {};
  file_.read(head, std::min<size_t>(size, 9), 0);
  uint64_t length = 0;
  for (size_t i = 8; i-- > 0;) length = length << 8 | head[i];
  if (length > kMaxHeaderBytes || length > size - 8) {
    fail("a header of " + std::to_string(length) + " bytes in a file of " + std::to_string(size) +
         " bytes");
  }
  // What is no header need not be read to its end.
  if (length == 0 || head[8] != '{') fail("the header does not begin with {");
  host_check_room(length);
  std::string header(length, '\0');
  file_.read(header.data(), length, 8);
  const Json json = parse_json(header);
  data_ = 8 + length;
  const size_t data_bytes = size - data_;
  const auto& members = *json.as<Json::Object>();
  if (members.size() > kMaxTensors) {
    fail("it has more than " + std::to_string(kMaxTensors) + " tensors");
  }
  for (const auto& [name, member] : members) {
    if (name != kMetadata) {
      entries_.push_back(entry_of(name, member, data_bytes));
      continue;
    }
    const auto* texts = member.as<Json::Object>();
    if (texts == nullptr) fail(std::string(kMetadata) + " is not an object of texts");
    for (const auto& [key, text] : *texts) {
      if (text.as<std::string>() == nullptr) {
        fail(std::string(kMetadata) + " is not an object of texts");
      }
      metadata.emplace(key, *text.as<std::string>());
    }
  }
  check_cover(entries_, data_bytes);
}

std::map<std::string, Tensor> TensorFile::tensors(const Engine& engine) const {
  // For all of them, before anything is read.
  host_check_room(file_.size() - data_);
  std::map<std::string, Tensor> tensors;
  Executor& executor = engine.impl().executor;
  for (const TensorEntry& entry : entries_) {
    const auto length = static_cast<int64_t>((entry.end - entry.begin) / 4);
    Buffer values = Buffer::make(length, entry.dtype);
    file_.read(values.raw(), entry.end - entry.begin, data_ + entry.begin);
    if (executor.device != nullptr) values = upload(executor, values.raw(), length, entry.dtype);
    tensors.emplace(entry.name, wrap(engine.shared(), std::move(values), entry.shape));
  }
  file_.check_unchanged();
  return tensors;
}

namespace {

std::string serialize(const SafetensorsFile& file) {
  std::string header = "{", data;
  const auto comma = [&] { header += header.size() > 1 ? "," : ""; };
  if (!file.metadata.empty()) {
    std::string texts;
    for (const auto& [key, text] : file.metadata) {
      texts += (texts.empty() ? "" : ",") + json_string(key) + ":" + json_string(text);
    }
    header += json_string(kMetadata) + ":{" + texts + "}";
  }
  for (const auto& [name, tensor] : file.tensors) {
    const Buffer buffer = tensor.impl().buffer;
    const size_t begin = data.size(), end = begin + buffer.bytes();
    data.resize(end);
    tensor.impl().engine->wait({buffer}, [&] { copy_out(buffer, data.data() + begin); });
    std::string sizes;
    for (int64_t size : tensor.shape()) sizes += (sizes.empty() ? "" : ",") + std::to_string(size);
    comma();
    header += json_string(name) + ":{\"dtype\":\"" +
              (buffer.dtype == DType::boolean ? "BOOL"
               : buffer.dtype == DType::int32 ? "I32"
                                              : "F32") +
              "\",\"shape\":[" + sizes + "],\"data_offsets\":[" + std::to_string(begin) + "," +
              std::to_string(end) + "]}";
  }
  header += "}";
  header.resize((header.size() + 7) / 8 * 8, ' ');  // so that the data are aligned
  std::string bytes(8, '\0');
  for (size_t i = 0; i < 8; ++i) bytes[i] = static_cast<char>(header.size() >> (8 * i) & 0xFF);
  return bytes + header + data;
}

}  // namespace

SafetensorsFile load_safetensors(const Engine& engine, const std::filesystem::path& path) {
  try {
    const TensorFile file(path);
    return {file.tensors(engine), file.metadata};
  } catch (const std::exception& e) {
    throw std::runtime_error("[load_safetensors] " + path.string() + ": " + e.what());
  }
}

void save_safetensors(const std::filesystem::path& path, const SafetensorsFile& file) {
  try {
    write_file(path, serialize(file));
  } catch (const std::exception& e) {
    throw std::runtime_error("[save_safetensors] " + path.string() + ": " + e.what());
  }
}

}  // namespace fused_rnn
