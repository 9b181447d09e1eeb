#include "api/files.h"

#include <cerrno>
#include <cstring>
#include <fstream>
#include <random>
#include <stdexcept>
#include <system_error>

namespace fused_rnn {

namespace fs = std::filesystem;

std::string read_file(const fs::path& path) {
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (!fs::exists(status)) throw std::runtime_error("no such file or folder");
  if (!fs::is_regular_file(status)) throw std::runtime_error("not a regular file");
  const uintmax_t bytes = fs::file_size(path, error);
  if (error) throw std::runtime_error(error.message());
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error(std::strerror(errno));
  std::string contents(bytes, '\0');
  file.read(contents.data(), static_cast<std::streamsize>(bytes));
  if (static_cast<uintmax_t>(file.gcount()) != bytes) {
    throw std::runtime_error("the file became shorter while it was read");
  }
  return contents;
}

void write_file(const fs::path& path, std::string_view contents) {
  fs::path beside = path;
  beside.replace_filename("." + path.filename().string() + "." +
                          std::to_string(std::random_device{}()) + ".tmp");
  std::ofstream file(beside, std::ios::binary | std::ios::trunc);
  if (!file) throw std::runtime_error(std::strerror(errno));
  file.write(contents.data(), static_cast<std::streamsize>(contents.size()));
  file.close();
  std::error_code error;
  if (!file) {
    const std::string reason = std::strerror(errno);
    fs::remove(beside, error);
    throw std::runtime_error(reason);
  }
  fs::rename(beside, path, error);
  if (error) {
    const std::string reason = error.message();
    fs::remove(beside, error);
    throw std::runtime_error(reason);
  }
}

}  // namespace fused_rnn
