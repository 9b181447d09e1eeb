#include "core/control_groups.h"

#include <fstream>
#include <sstream>

namespace fused_rnn {
namespace {

bool among(const std::string& list, const std::string& wanted) {
  return ("," + list + ",").find("," + wanted + ",") != std::string::npos;
}

// Where a hierarchy is mounted, and which of its groups is seen there.
struct Mount {
  std::string group, folder;
};

// Of /proc/self/mountinfo: number parent device group folder options … - type source options.
std::vector<Mount> mounts(const std::string& controller, bool second, const std::string& root) {
  std::vector<Mount> found;
  std::ifstream file(root + "/proc/self/mountinfo");
  for (std::string line; std::getline(file, line);) {
    const size_t dash = line.find(" - ");
    if (dash == std::string::npos) continue;
    std::istringstream front(line), back(line.substr(dash + 3));
    std::string skipped, type, options;
    Mount mount;
    front >> skipped >> skipped >> skipped >> mount.group >> mount.folder;
    back >> type >> skipped >> options;
    if (second ? type == "cgroup2" : type == "cgroup" && among(options, controller)) {
      found.push_back(mount);
    }
  }
  if (found.empty()) found.push_back({"/", "/sys/fs/cgroup" + (second ? "" : "/" + controller)});
  return found;
}

// The group's path below the mount. A container may see its own group as the mount's root, or its
// path on the host, which leads nowhere here.
std::string below(const std::string& path, const std::string& group) {
  if (group == "/") return path;
  const bool inside = path.compare(0, group.size(), group) == 0 &&
                      (path.size() == group.size() || path[group.size()] == '/');
  return inside ? path.substr(group.size()) : "";
}

}  // namespace

std::vector<ControlGroup> control_groups(const std::string& controller, const std::string& root) {
  std::vector<ControlGroup> groups;
  std::ifstream file(root + "/proc/self/cgroup");
  // number:controllers:path, without controllers in the second version
  for (std::string line; std::getline(file, line);) {
    const size_t first = line.find(':');
    const size_t second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    if (!controllers.empty() && !among(controllers, controller)) continue;
    for (const Mount& mount : mounts(controller, controllers.empty(), root)) {
      std::string path = below(line.substr(second + 1), mount.group);
      while (path.size() > 1) {
        groups.push_back({root + mount.folder + path, controllers.empty()});
        path.resize(path.find_last_of('/') == std::string::npos ? 0 : path.find_last_of('/'));
      }
      groups.push_back({root + mount.folder, controllers.empty()});
    }
  }
  return groups;
}

}  // namespace fused_rnn
