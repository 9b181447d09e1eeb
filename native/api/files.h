// Whole files.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

namespace fused_rnn {

// Throws std::runtime_error with what is wrong, without the file's name.
std::string read_file(const std::filesystem::path& path);
// Under another name first, then under its own: it is there as a whole or not at all.
void write_file(const std::filesystem::path& path, std::string_view contents);

}  // namespace fused_rnn
