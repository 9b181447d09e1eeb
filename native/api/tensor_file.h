// A file of tensors that is open to be read: its header first.
#pragma once

#include <cstddef>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "api/files.h"
#include "fused_rnn/tensor.h"

namespace fused_rnn {

struct TensorEntry {
  std::string name;
  DType dtype;
  Shape shape;
  size_t begin, end;  // in the data after the header
};

// Errors are std::runtime_error with what is wrong, without the file's name.
class TensorFile {
 public:
  explicit TensorFile(const std::filesystem::path& path);
  // Of the file that was opened, whatever has its name by now.
  std::map<std::string, Tensor> tensors(const Engine& engine) const;

  std::map<std::string, std::string> metadata;

 private:
  OpenFile file_;
  size_t data_ = 0;
  std::vector<TensorEntry> entries_;
};

}  // namespace fused_rnn
