// Files in a folder that belong together, replaced as ts/io/saved_folder.ts does it: complete in a
// folder of their own inside first, then under their names, the head first.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace fused_rnn {

struct SavedFile {
  std::string name;
  std::function<void(const std::filesystem::path&)> write;
};

// `files`: the head first. `names`: all that this kind of folder may have; those that `files` lacks
// are taken away. `check` throws when the folder's files are not ours.
void save_folder(const std::filesystem::path& folder, const std::vector<SavedFile>& files,
                 const std::vector<std::string>& names,
                 const std::function<void(const std::filesystem::path&)>& check);

// The names of the folders inside in which a writer is at work, or was killed.
std::vector<std::string> staging_folders(const std::filesystem::path& folder);

}  // namespace fused_rnn
