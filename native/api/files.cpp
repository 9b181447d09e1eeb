#include "api/files.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <random>
#include <stdexcept>
#include <system_error>

#include "api/system.h"
#include "core/allocator.h"

namespace fused_rnn {

namespace fs = std::filesystem;

namespace {

constexpr size_t kMostAtATime = size_t{1} << 30;
constexpr int kMostLinks = 40;

[[noreturn]] void fail() {
  throw std::runtime_error(errno == ENOENT ? "no such file or folder" : std::strerror(errno));
}

std::string name_of(sys::Kind kind) {
  switch (kind) {
    case sys::Kind::regular:
      return "a regular file";
    case sys::Kind::folder:
      return "a folder";
    case sys::Kind::pipe:
      return "a named pipe";
    case sys::Kind::socket:
      return "a socket";
    case sys::Kind::character_device:
    case sys::Kind::block_device:
      return "a device";
    case sys::Kind::other:
      break;
  }
  return "something else";
}

void check_regular(const sys::Info& info) {
  if (info.kind == sys::Kind::regular) return;
  throw std::runtime_error("it is " + name_of(info.kind) + ", not a regular file");
}

struct Descriptor {
  explicit Descriptor(int number) : number(number) {}
  ~Descriptor() {
    if (number >= 0) sys::close(number);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int number;
};

void write_all(int file, std::string_view contents) {
  while (!contents.empty()) {
    const long long written =
        sys::write(file, contents.data(), std::min(contents.size(), kMostAtATime));
    if (written >= 0) {
      contents.remove_prefix(static_cast<size_t>(written));
    } else if (errno == EAGAIN) {
      sys::wait_for_room(file);
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
  sys::Info info;
  if (!sys::info_of(path, info)) fail();
  check_regular(info);
  Descriptor file(sys::open(path, sys::Open::read));
  if (file.number < 0 || !sys::info_of(file.number, info)) fail();
  check_regular(info);
  size_ = info.size;
  seconds_ = info.seconds;
  nanoseconds_ = info.nanoseconds;
  std::swap(file_, file.number);
}

OpenFile::~OpenFile() {
  if (file_ >= 0) sys::close(file_);
}

void OpenFile::read(void* to, size_t bytes, size_t position) const {
  auto* at = static_cast<char*>(to);
  while (bytes > 0) {
    const long long got = sys::read(file_, at, std::min(bytes, kMostAtATime), position);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail();
    if (got == 0) throw std::runtime_error("the file became shorter while it was read");
    at += got;
    position += static_cast<size_t>(got);
    bytes -= static_cast<size_t>(got);
  }
}

void OpenFile::check_unchanged() const {
  sys::Info info;
  if (!sys::info_of(file_, info)) fail();
  if (info.size != size_ || info.seconds != seconds_ || info.nanoseconds != nanoseconds_) {
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
  sys::Info info;
  const bool there = sys::info_of(path, info);
  if (!there && errno != ENOENT) fail();
  if (there && (info.kind == sys::Kind::pipe || info.kind == sys::Kind::character_device)) {
    const Descriptor file(sys::open(path, sys::Open::stream));
    if (file.number < 0 && errno == ENXIO) {
      throw std::runtime_error("is a named pipe or a socket that nobody reads");
    }
    if (file.number < 0) fail();
    return write_all(file.number, contents);
  }
  if (there && info.kind != sys::Kind::regular) {
    throw std::runtime_error("is " + name_of(info.kind) + ", which is not written to as a file");
  }
  if (there && !sys::may_write(path)) fail();
  fs::path beside = path;
  beside.replace_filename("." + path.filename().string().substr(0, 60) + "." + random_name() +
                          ".tmp");
  try {
    {
      const Descriptor file(sys::open(beside, sys::Open::fresh));
      if (file.number < 0) fail();
      write_all(file.number, contents);
      if (there && !sys::take_after(file.number, info)) fail();
      if (!sys::flush(file.number)) fail();
    }
    if (!sys::rename(beside, path)) fail();
  } catch (...) {
    sys::remove(beside);
    throw;
  }
  sync(path.parent_path().empty() ? fs::path(".") : path.parent_path());
}

void sync(const fs::path& path) {
  const Descriptor folder(sys::open(path, sys::Open::read));
  // Not every system can be asked for that.
  if (folder.number >= 0 && !sys::flush(folder.number)) errno = 0;
}

std::string random_name() {
  std::random_device device;
  std::string name;
  for (int i = 0; i < 16; ++i) name += "0123456789abcdef"[device() & 15];
  return name;
}

}  // namespace fused_rnn
