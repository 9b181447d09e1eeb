// The control groups (cgroups) of Linux that this process is in: containers and services are given
// their share of the machine that way.
#pragma once

#include <string>
#include <vector>

namespace fused_rnn {

struct ControlGroup {
  std::string folder;   // where its files are
  bool second_version;  // of cgroups, with other names of files
};

// The process's own group and all around it, in every hierarchy that has `controller`: "memory",
// "cpu". None where there are no control groups. Tests give a folder as `root`, with proc/ and
// sys/.
std::vector<ControlGroup> control_groups(const std::string& controller,
                                         const std::string& root = "");

}  // namespace fused_rnn
