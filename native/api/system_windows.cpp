#include <fcntl.h>
#include <io.h>
#include <windows.h>

#include <algorithm>
#include <cerrno>

#include "api/system.h"

namespace fused_rnn::sys {
namespace {

constexpr DWORD kLongest = 10000;  // ms
constexpr DWORD kSharedByAll = FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE;

// False, with the error of the last call in POSIX's words.
bool failed() {
  switch (GetLastError()) {
    case ERROR_FILE_NOT_FOUND:
    case ERROR_PATH_NOT_FOUND:
    case ERROR_INVALID_NAME:
      errno = ENOENT;
      break;
    case ERROR_FILE_EXISTS:
    case ERROR_ALREADY_EXISTS:
      errno = EEXIST;
      break;
    case ERROR_ACCESS_DENIED:
    case ERROR_SHARING_VIOLATION:
    case ERROR_WRITE_PROTECT:
      errno = EACCES;
      break;
    case ERROR_DISK_FULL:
    case ERROR_HANDLE_DISK_FULL:
      errno = ENOSPC;
      break;
    default:
      errno = EIO;
  }
  return false;
}

HANDLE handle_of(int file) { return reinterpret_cast<HANDLE>(_get_osfhandle(file)); }

bool tell(HANDLE file, Info& info) {
  info = {};
  switch (GetFileType(file)) {
    case FILE_TYPE_CHAR:
      info.kind = Kind::character_device;
      return true;
    case FILE_TYPE_PIPE:
      info.kind = Kind::pipe;
      return true;
  }
  BY_HANDLE_FILE_INFORMATION found{};
  if (!GetFileInformationByHandle(file, &found)) return failed();
  const bool folder = (found.dwFileAttributes & FILE_ATTRIBUTE_DIRECTORY) != 0;
  info.kind = folder ? Kind::folder : Kind::regular;
  info.size = static_cast<size_t>(uint64_t{found.nFileSizeHigh} << 32 | found.nFileSizeLow);
  // In units of 100 ns since 1601.
  const uint64_t time =
      uint64_t{found.ftLastWriteTime.dwHighDateTime} << 32 | found.ftLastWriteTime.dwLowDateTime;
  info.seconds = static_cast<long long>(time / 10'000'000) - 11'644'473'600;
  info.nanoseconds = static_cast<long long>(time % 10'000'000) * 100;
  return true;
}

OVERLAPPED at(size_t position) {
  OVERLAPPED place{};
  place.Offset = static_cast<DWORD>(position);
  place.OffsetHigh = static_cast<DWORD>(uint64_t{position} >> 32);
  return place;
}

}  // namespace

bool info_of(const Path& path, Info& info) {
  // With this flag folders open, too.
  const HANDLE file = CreateFileW(path.c_str(), FILE_READ_ATTRIBUTES, kSharedByAll, nullptr,
                                  OPEN_EXISTING, FILE_FLAG_BACKUP_SEMANTICS, nullptr);
  if (file == INVALID_HANDLE_VALUE) return failed();
  const bool told = tell(file, info);
  CloseHandle(file);
  return told;
}

bool info_of(int file, Info& info) { return tell(handle_of(file), info); }

int open(const Path& path, Open how) {
  const DWORD access = how == Open::read     ? GENERIC_READ
                       : how == Open::stream ? GENERIC_WRITE
                                             : GENERIC_READ | GENERIC_WRITE;
  const DWORD which = how == Open::fresh ? CREATE_NEW : OPEN_EXISTING;
  const HANDLE file = CreateFileW(path.c_str(), access, kSharedByAll, nullptr, which,
                                  FILE_ATTRIBUTE_NORMAL, nullptr);
  if (file == INVALID_HANDLE_VALUE) {
    failed();
    return -1;
  }
  return _open_osfhandle(reinterpret_cast<intptr_t>(file), _O_BINARY);
}

void close(int file) { _close(file); }

long long read(int file, void* to, size_t bytes, size_t position) {
  OVERLAPPED place = at(position);
  DWORD got = 0;
  if (ReadFile(handle_of(file), to, static_cast<DWORD>(bytes), &got, &place)) return got;
  if (GetLastError() == ERROR_HANDLE_EOF) return 0;
  failed();
  return -1;
}

long long write(int file, const void* from, size_t bytes) {
  DWORD written = 0;
  if (WriteFile(handle_of(file), from, static_cast<DWORD>(bytes), &written, nullptr))
    return written;
  failed();
  return -1;
}

bool overwrite(int file, const std::string& text) {
  OVERLAPPED place = at(0);
  DWORD written = 0;
  return WriteFile(handle_of(file), text.data(), static_cast<DWORD>(text.size()), &written,
                   &place) ||
         failed();
}

void wait_for_room(int) {}

bool take_after(int, const Info&) { return true; }

bool flush(int file) { return FlushFileBuffers(handle_of(file)) || failed(); }

bool may_write(const Path& path) {
  const DWORD attributes = GetFileAttributesW(path.c_str());
  if (attributes == INVALID_FILE_ATTRIBUTES) return failed();
  if ((attributes & FILE_ATTRIBUTE_READONLY) == 0) return true;
  errno = EACCES;
  return false;
}

bool rename(const Path& from, const Path& to) {
  const ULONGLONG end = GetTickCount64() + kLongest;
  for (DWORD pause = 5;; pause = std::min<DWORD>(2 * pause, 250)) {
    if (MoveFileExW(from.c_str(), to.c_str(), MOVEFILE_REPLACE_EXISTING)) return true;
    failed();
    // A reader, a virus scanner or a backup has one of them open.
    if (errno != EACCES || GetTickCount64() > end) return false;
    Sleep(pause);
  }
}

bool link(const Path& from, const Path& to) {
  return CreateHardLinkW(to.c_str(), from.c_str(), nullptr) || failed();
}

void remove(const Path& path) { DeleteFileW(path.c_str()); }

long own_process() { return static_cast<long>(GetCurrentProcessId()); }

bool has_ended(long process) {
  const HANDLE found = OpenProcess(SYNCHRONIZE, FALSE, static_cast<DWORD>(process));
  if (found == nullptr) return GetLastError() == ERROR_INVALID_PARAMETER;
  const bool ended = WaitForSingleObject(found, 0) == WAIT_OBJECT_0;
  CloseHandle(found);
  return ended;
}

std::string host_name() {
  char name[256] = {};
  DWORD length = sizeof name;
  return GetComputerNameExA(ComputerNameDnsHostname, name, &length) ? name : "";
}

}  // namespace fused_rnn::sys
