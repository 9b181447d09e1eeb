// What files.cpp and lock.cpp ask of the system; system_posix.cpp and system_windows.cpp have it.
// What fails says why in errno.
#pragma once

#include <cstddef>
#include <filesystem>
#include <string>

namespace fused_rnn::sys {

using Path = std::filesystem::path;

enum class Kind { regular, folder, pipe, socket, character_device, block_device, other };

struct Info {
  Kind kind = Kind::other;
  size_t size = 0;
  long long seconds = 0, nanoseconds = 0;   // of the last change
  unsigned mode = 0, owner = 0, group = 0;  // on POSIX
};

// Of what a name leads to, and of what is open.
bool info_of(const Path& path, Info& info);
bool info_of(int file, Info& info);

enum class Open {
  read,    // a pipe that nobody writes to opens at once
  update,  // what is there
  fresh,   // where nothing is
  stream,  // a pipe or a device; ENXIO where nobody reads it
};
// A number, or -1. Others may read, write, rename and delete it in the meantime.
int open(const Path& path, Open how);
void close(int file);

// At most 2^30 bytes; how many it were, or -1.
long long read(int file, void* to, size_t bytes, size_t position);
long long write(int file, const void* from, size_t bytes);
// At the beginning.
bool overwrite(int file, const std::string& text);
// Waits a moment for a full pipe.
void wait_for_room(int file);
// Gives a file the owner and the permissions of another.
bool take_after(int file, const Info& other);
// What was written is on the disk.
bool flush(int file);

bool may_write(const Path& path);
// Also onto what is there. Windows replaces no file that is open: it is tried for some seconds there.
bool rename(const Path& from, const Path& to);
// A second name, where nothing is.
bool link(const Path& from, const Path& to);
void remove(const Path& path);

long own_process();
// False also where it cannot be told.
bool has_ended(long process);
std::string host_name();

}  // namespace fused_rnn::sys
