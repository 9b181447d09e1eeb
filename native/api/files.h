// Whole files. What is refused, and how links, pipes and permissions are treated, is as in
// ts/io/open_file.ts and ts/io/whole_file.ts.
#pragma once

#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>

namespace fused_rnn {

// A regular file, open to be read: a pipe, a device or a folder in its place is an error at once.
// Errors are std::runtime_error with what is wrong, without the file's name.
class OpenFile {
 public:
  explicit OpenFile(const std::filesystem::path& path);
  ~OpenFile();
  OpenFile(const OpenFile&) = delete;
  OpenFile& operator=(const OpenFile&) = delete;

  size_t size() const { return size_; }
  // Exactly so many bytes.
  void read(void* to, size_t bytes, size_t position) const;
  // Throws when somebody has written into it since it was opened.
  void check_unchanged() const;

 private:
  int file_ = -1;
  size_t size_ = 0;
  long long seconds_ = 0, nanoseconds_ = 0;
};

// All of it; throws where it has more bytes than `limit`, or the memory has no room for it.
std::string read_file(const std::filesystem::path& path, size_t limit);
// Under another name first, then under its own: it is there as a whole or not at all. A link is
// followed, a pipe is written to.
void write_file(const std::filesystem::path& path, std::string_view contents);
// So that what has been written there is on the disk.
void sync(const std::filesystem::path& path);

// 16 hexadecimal digits, drawn anew.
std::string random_name();

}  // namespace fused_rnn
