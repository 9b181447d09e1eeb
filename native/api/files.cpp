#include "api/files.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <random>
#include <stdexcept>
#include <system_error>

#include "core/allocator.h"

namespace fused_rnn {

namespace fs = std::filesystem;

namespace {

constexpr size_t kMostAtATime = size_t{1} << 30;
constexpr int kMostLinks = 40;

[[noreturn]] void fail() {
  throw std::runtime_error(errno == ENOENT ? "no such file or folder" : std::strerror(errno));
}

std::string kind_of(mode_t mode) {
  if (S_ISREG(mode)) return "a regular file";
  if (S_ISDIR(mode)) return "a folder";
  if (S_ISFIFO(mode)) return "a named pipe";
  if (S_ISSOCK(mode)) return "a socket";
  return S_ISBLK(mode) || S_ISCHR(mode) ? "a device" : "something else";
}

void check_regular(const struct stat& info) {
  if (S_ISREG(info.st_mode)) return;
  throw std::runtime_error("it is " + kind_of(info.st_mode) + ", not a regular file");
}

struct Descriptor {
  explicit Descriptor(int number) : number(number) {}
  ~Descriptor() {
    if (number >= 0) ::close(number);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int number;
};

void write_all(int file, std::string_view contents) {
  while (!contents.empty()) {
    const ssize_t written = ::write(file, contents.data(), std::min(contents.size(), kMostAtATime));
    if (written >= 0) {
      contents.remove_prefix(static_cast<size_t>(written));
    } else if (errno == EAGAIN) {
      pollfd full{file, POLLOUT, 0};
      ::poll(&full, 1, 1000);
    } else if (errno != EINTR) {
      fail();
    }
  }
}

// The name behind all links.
fs::path behind_links(fs::path path) {
  for (int links = 0; links <= kMostLinks; ++links) {
    if (!fs::is_symlink(fs::symlink_status(path))) return path;
    const fs::path target = fs::read_symlink(path);
    // Linux's names of what a process has open cannot be followed by name.
    if (fs::weakly_canonical(fs::absolute(path).parent_path()).string().starts_with("/proc/")) {
      return path;
    }
    path = target.is_absolute() ? target : path.parent_path() / target;
  }
  throw std::runtime_error("too many links, one behind the other");
}

}  // namespace

OpenFile::OpenFile(const fs::path& path) {
  // Also before it is opened, which may set a device going.
  struct stat info{};
  if (::stat(path.c_str(), &info) != 0) fail();
  check_regular(info);
  // A pipe that nobody writes to opens at once.
  Descriptor file(::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
  if (file.number < 0 || ::fstat(file.number, &info) != 0) fail();
  check_regular(info);
  size_ = static_cast<size_t>(info.st_size);
#ifdef __APPLE__
  seconds_ = info.st_mtimespec.tv_sec;
  nanoseconds_ = info.st_mtimespec.tv_nsec;
#else
  seconds_ = info.st_mtim.tv_sec;
  nanoseconds_ = info.st_mtim.tv_nsec;
#endif
  std::swap(file_, file.number);
}

OpenFile::~OpenFile() {
  if (file_ >= 0) ::close(file_);
}

void OpenFile::read(void* to, size_t bytes, size_t position) const {
  auto* at = static_cast<char*>(to);
  while (bytes > 0) {
    const ssize_t got =
        ::pread(file_, at, std::min(bytes, kMostAtATime), static_cast<off_t>(position));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail();
    if (got == 0) throw std::runtime_error("the file became shorter while it was read");
    at += got;
    position += static_cast<size_t>(got);
    bytes -= static_cast<size_t>(got);
  }
}

void OpenFile::check_unchanged() const {
  struct stat info{};
  if (::fstat(file_, &info) != 0) fail();
#ifdef __APPLE__
  const auto& time = info.st_mtimespec;
#else
  const auto& time = info.st_mtim;
#endif
  if (static_cast<size_t>(info.st_size) != size_ || time.tv_sec != seconds_ ||
      time.tv_nsec != nanoseconds_) {
    throw std::runtime_error("the file changed while it was read");
  }
}

std::string read_file(const fs::path& path, size_t limit) {
  const OpenFile file(path);
  if (file.size() > limit) {
    throw std::runtime_error("it has " + std::to_string(file.size()) + " bytes, more than " +
                             std::to_string(limit));
  }
  host_check_room(file.size());
  std::string contents(file.size(), '\0');
  file.read(contents.data(), contents.size(), 0);
  return contents;
}

void write_file(const fs::path& given, std::string_view contents) {
  const fs::path path = behind_links(given);
  struct stat info{};
  const bool there = ::stat(path.c_str(), &info) == 0;
  if (!there && errno != ENOENT) fail();
  if (there && (S_ISFIFO(info.st_mode) || S_ISCHR(info.st_mode))) {
    const Descriptor file(
        ::open(path.c_str(), O_WRONLY | O_NONBLOCK | O_NOCTTY | O_APPEND | O_CLOEXEC));
    if (file.number < 0 && errno == ENXIO) {
      throw std::runtime_error("is a named pipe or a socket that nobody reads");
    }
    if (file.number < 0) fail();
    return write_all(file.number, contents);
  }
  if (there && !S_ISREG(info.st_mode)) {
    throw std::runtime_error("is " + kind_of(info.st_mode) + ", which is not written to as a file");
  }
  if (there && ::access(path.c_str(), W_OK) != 0) fail();
  fs::path beside = path;
  beside.replace_filename("." + path.filename().string().substr(0, 60) + "." + random_name() +
                          ".tmp");
  try {
    const Descriptor file(::open(beside.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
    if (file.number < 0) fail();
    write_all(file.number, contents);
    // Only root may give files away.
    if (there && ::fchown(file.number, info.st_uid, info.st_gid) != 0) errno = 0;
    if (there && ::fchmod(file.number, info.st_mode & 07777) != 0) fail();
    if (::fsync(file.number) != 0) fail();
    if (::rename(beside.c_str(), path.c_str()) != 0) fail();
  } catch (...) {
    ::unlink(beside.c_str());
    throw;
  }
  sync(path.parent_path().empty() ? fs::path(".") : path.parent_path());
}

void sync(const fs::path& path) {
  const Descriptor folder(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  // Not every system can be asked for that.
  if (folder.number >= 0 && ::fsync(folder.number) != 0) errno = 0;
}

std::string random_name() {
  std::random_device device;
  std::string name;
  for (int i = 0; i < 16; ++i) name += "0123456789abcdef"[device() & 15];
  return name;
}

}  // namespace fused_rnn
