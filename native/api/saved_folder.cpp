#include "api/saved_folder.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <stdexcept>

#include "api/files.h"
#include "api/lock.h"
#include "api/system.h"

namespace fused_rnn {

namespace fs = std::filesystem;

namespace {

constexpr std::string_view kBegin = ".fused-rnn.", kEnd = ".tmp";

// What earlier versions, or ".model.safetensors.0123.tmp", left when they were killed.
bool is_left_behind(const std::string& name, const std::vector<std::string>& names) {
  return std::any_of(names.begin(), names.end(), [&](const std::string& of) {
    const std::string begin = "." + of + ".";
    return name.starts_with(begin) && name.ends_with(kEnd) &&
           name.find_first_not_of("0123456789abcdef", begin.size()) == name.size() - kEnd.size();
  });
}

void put_in_place(const fs::path& from, const fs::path& to) {
  if (!sys::rename(from, to)) throw std::runtime_error(std::strerror(errno));
}

void replace(const fs::path& folder, const std::vector<SavedFile>& files,
             const std::vector<std::string>& names, const FolderLock& lock) {
  // The lock keeps others out: who was at work there has ended.
  const std::vector<std::string> dead = staging_folders(folder);
  const std::string name = std::string(kBegin) + random_name() + std::string(kEnd);
  const fs::path staging = folder / name;
  fs::create_directory(staging);
  try {
    for (const SavedFile& file : files) {
      file.write(staging / file.name);
      lock.touch();
    }
    sync(staging);
    put_in_place(staging / files[0].name, folder / files[0].name);
  } catch (...) {
    std::error_code error;
    fs::remove_all(staging, error);
    throw;
  }
  // From here on the new files are the ones that count, wherever they are.
  for (size_t i = 1; i < files.size(); ++i) {
    put_in_place(staging / files[i].name, folder / files[i].name);
  }
  for (const std::string& other : names) {
    const bool written = std::any_of(files.begin(), files.end(),
                                     [&](const SavedFile& file) { return file.name == other; });
    if (!written) fs::remove(folder / other);
  }
  sync(folder);
  fs::remove(staging);
  std::error_code error;
  for (const std::string& left : dead) fs::remove_all(folder / left, error);
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    if (is_left_behind(entry.path().filename().string(), names)) fs::remove(entry.path(), error);
  }
}

}  // namespace

std::vector<std::string> staging_folders(const fs::path& folder) {
  std::vector<std::string> found;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    if (name.size() == kBegin.size() + 16 + kEnd.size() && name.starts_with(kBegin) &&
        name.ends_with(kEnd) &&
        name.find_first_not_of("0123456789abcdef", kBegin.size()) == kBegin.size() + 16) {
      found.push_back(name);
    }
  }
  return found;
}

void save_folder(const fs::path& given, const std::vector<SavedFile>& files,
                 const std::vector<std::string>& names,
                 const std::function<void(const fs::path&)>& check) {
  // Behind all links; without a slash at the end, which would be a name of its own.
  fs::path folder = fs::weakly_canonical(fs::absolute(given));
  if (folder.filename().empty()) folder = folder.parent_path();
  if (!fs::exists(folder)) {
    fs::create_directories(folder.parent_path());
    const fs::path temporary =
        folder.parent_path() / ("." + folder.filename().string().substr(0, 60) + ".fused-rnn." +
                                writer_name() + "." + random_name() + ".tmp");
    fs::create_directory(temporary);
    try {
      FolderLock lock(temporary);
      replace(temporary, files, names, lock);
      std::error_code error;
      if (!fs::exists(folder)) fs::rename(temporary, folder, error);
      if (fs::exists(temporary)) {
        if (error && !fs::exists(folder)) throw std::runtime_error(error.message());
      } else {
        lock.moved(folder);
        sync(folder.parent_path());
        return;
      }
    } catch (...) {
      std::error_code error;
      fs::remove_all(temporary, error);
      throw;
    }
    // Somebody else has made one.
    fs::remove_all(temporary);
  }
  if (!fs::is_directory(folder)) {
    throw std::runtime_error("there is something of that name that is no folder");
  }
  FolderLock lock(folder);
  check(folder);
  replace(folder, files, names, lock);
}

}  // namespace fused_rnn
