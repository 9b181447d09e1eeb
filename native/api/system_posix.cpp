#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

#include "api/system.h"

namespace fused_rnn::sys {
namespace {

Kind kind_of(mode_t mode) {
  if (S_ISREG(mode)) return Kind::regular;
  if (S_ISDIR(mode)) return Kind::folder;
  if (S_ISFIFO(mode)) return Kind::pipe;
  if (S_ISSOCK(mode)) return Kind::socket;
  if (S_ISCHR(mode)) return Kind::character_device;
  return S_ISBLK(mode) ? Kind::block_device : Kind::other;
}

bool tell(const struct stat& found, Info& info) {
#if defined(__APPLE__)
  const timespec& time = found.st_mtimespec;
#else
  const timespec& time = found.st_mtim;
#endif
  info = {.kind = kind_of(found.st_mode),
          .size = static_cast<size_t>(found.st_size),
          .seconds = time.tv_sec,
          .nanoseconds = time.tv_nsec,
          .mode = static_cast<unsigned>(found.st_mode & 07777),
          .owner = found.st_uid,
          .group = found.st_gid};
  return true;
}

}  // namespace

bool info_of(const Path& path, Info& info) {
  struct stat found{};
  return ::stat(path.c_str(), &found) == 0 && tell(found, info);
}

bool info_of(int file, Info& info) {
  struct stat found{};
  return ::fstat(file, &found) == 0 && tell(found, info);
}

int open(const Path& path, Open how) {
  switch (how) {
    case Open::read:
      return ::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    case Open::update:
      return ::open(path.c_str(), O_RDWR | O_CLOEXEC);
    case Open::fresh:
      return ::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    case Open::stream:
      return ::open(path.c_str(), O_WRONLY | O_NONBLOCK | O_NOCTTY | O_APPEND | O_CLOEXEC);
  }
  return -1;
}

void close(int file) { ::close(file); }

long long read(int file, void* to, size_t bytes, size_t position) {
  return ::pread(file, to, bytes, static_cast<off_t>(position));
}

long long write(int file, const void* from, size_t bytes) { return ::write(file, from, bytes); }

bool overwrite(int file, const std::string& text) {
  if (::pwrite(file, text.data(), text.size(), 0) == static_cast<ssize_t>(text.size())) return true;
  if (errno == 0) errno = ENOSPC;
  return false;
}

void wait_for_room(int file) {
  pollfd full{file, POLLOUT, 0};
  ::poll(&full, 1, 1000);
}

bool take_after(int file, const Info& other) {
  // Only root may give files away.
  if (::fchown(file, other.owner, other.group) != 0) errno = 0;
  return ::fchmod(file, static_cast<mode_t>(other.mode)) == 0;
}

bool flush(int file) { return ::fsync(file) == 0; }

bool may_write(const Path& path) { return ::access(path.c_str(), W_OK) == 0; }

bool rename(const Path& from, const Path& to) { return std::rename(from.c_str(), to.c_str()) == 0; }

bool link(const Path& from, const Path& to) { return ::link(from.c_str(), to.c_str()) == 0; }

void remove(const Path& path) { ::unlink(path.c_str()); }

long own_process() { return ::getpid(); }

bool has_ended(long process) {
  return ::kill(static_cast<pid_t>(process), 0) != 0 && errno == ESRCH;
}

std::string host_name() {
  char name[256] = {};
  ::gethostname(name, sizeof name - 1);
  return name;
}

}  // namespace fused_rnn::sys
