// A lock as a file, among the threads and processes that write into a folder: what
// ts/io/lock.ts and owner.ts write and understand.
#pragma once

#include <filesystem>
#include <string>

namespace fused_rnn {

class FolderLock {
 public:
  // Waits for another writer that is alive, a minute at most; takes over from one that has ended.
  // Throws std::runtime_error that names the owner.
  explicit FolderLock(const std::filesystem::path& folder);
  ~FolderLock();
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;

  // Tells those on other machines that this program is alive.
  void touch() const;
  // The folder has got another name.
  void moved(const std::filesystem::path& folder);

 private:
  // Whether nobody has taken it over.
  bool is_own() const;

  std::filesystem::path path_;
  std::string text_;  // what stands in it: no other lock has the same token
};

// "machine.process", for names of what is there for a moment.
std::string writer_name();

}  // namespace fused_rnn
