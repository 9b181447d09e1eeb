// Files of tensors, as the npm package's io.safetensors and PyTorch's safetensors.torch write them.
#pragma once

#include <filesystem>
#include <map>
#include <string>

#include "fused_rnn/tensor.h"

namespace fused_rnn {

struct SafetensorsFile {
  std::map<std::string, Tensor> tensors;
  std::map<std::string, std::string> metadata;
};

// Tensors of F32 and I32. Sizes are checked against the file before anything is allocated. Throws
// std::runtime_error that names the file and says what is wrong.
FUSED_RNN_API SafetensorsFile load_safetensors(const Engine& engine,
                                               const std::filesystem::path& path);

// The file appears under its name only when it is complete.
FUSED_RNN_API void save_safetensors(const std::filesystem::path& path, const SafetensorsFile& file);

}  // namespace fused_rnn
