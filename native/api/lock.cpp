#include "api/lock.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <ctime>
#include <fstream>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <thread>

#include "api/files.h"
#include "api/json.h"
#include "api/sha256.h"

namespace fused_rnn {

namespace fs = std::filesystem;

namespace {

constexpr const char* kFormat = "fused-rnn lock";
constexpr const char* kName = ".fused-rnn.lock";
constexpr int kSilentSeconds = 60, kTakingOverSeconds = 10, kWaitSeconds = 60;

std::string line_of(const fs::path& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

std::string link_of(const fs::path& path) {
  std::error_code error;
  return fs::read_symlink(path, error).string();
}

std::string host_name() {
  char name[256] = {};
  ::gethostname(name, sizeof name - 1);
  return name;
}

std::string machine() {
  return host_name() + " " + line_of("/proc/sys/kernel/random/boot_id") + " " +
         link_of("/proc/self/ns/pid");
}

struct Thread {
  std::string state, started;
};

// Of a thread; none where there is none, or it may not be seen.
std::optional<Thread> thread_of(long process, long thread) {
  const std::string line =
      line_of("/proc/" + std::to_string(process) + "/task/" + std::to_string(thread) + "/stat");
  const size_t end = line.rfind(')');
  if (end == std::string::npos) return {};
  std::istringstream fields(line.substr(end + 1));
  Thread found;
  fields >> found.state;
  // The 22nd field; the state is the third.
  for (int i = 4; i <= 22 && fields >> found.started; ++i) {
  }
  return found;
}

long own_thread() {
  const std::string link = link_of("/proc/thread-self");  // "12/task/34"
  const size_t slash = link.rfind('/');
  if (slash == std::string::npos || std::atol(link.c_str()) != ::getpid()) return 0;
  return std::atol(link.c_str() + slash + 1);
}

std::string now_text() {
  const std::time_t now = std::time(nullptr);
  std::tm utc{};
  ::gmtime_r(&now, &utc);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &utc);
  return text;
}

std::string owner_text() {
  const long thread = own_thread();
  const std::string started =
      thread == 0 ? "null" : json_string(thread_of(::getpid(), thread)->started);
  return std::string("{\"format\":") + json_string(kFormat) +
         ",\"token\":" + json_string(random_name()) +
         ",\"what\":\"a saving\",\"pid\":" + std::to_string(::getpid()) +
         ",\"thread\":" + (thread == 0 ? "null" : std::to_string(thread)) +
         ",\"started\":" + started + ",\"host\":" + json_string(host_name()) +
         ",\"machine\":" + json_string(machine()) + ",\"since\":" + json_string(now_text()) + "}";
}

std::string text_in(const Json& json, const char* name) {
  const Json* found = json.find(name);
  const auto* text = found == nullptr ? nullptr : found->as<std::string>();
  return text == nullptr ? "" : *text;
}

long number_in(const Json& json, const char* name) {
  const Json* found = json.find(name);
  const auto* number = found == nullptr ? nullptr : found->as<double>();
  return number == nullptr ? 0 : static_cast<long>(*number);
}

// Whether an owner is alive; none where it cannot be told from here.
std::optional<bool> is_alive(const Json& owner) {
  if (text_in(owner, "machine") != machine()) return {};
  const long process = number_in(owner, "pid"), thread = number_in(owner, "thread");
  if (::kill(static_cast<pid_t>(process), 0) != 0 && errno == ESRCH) return false;
  if (thread == 0 || own_thread() == 0) return process == ::getpid() ? std::optional<bool>() : true;
  const std::optional<Thread> found = thread_of(process, thread);
  if (!found) return !fs::exists("/proc/" + std::to_string(process) + "/task");
  return found->started == text_in(owner, "started") && found->state != "Z" && found->state != "X";
}

enum class State { none, alive, ended };

// `now` as the file system has it; `owner` is set where one is alive.
State state_of(const fs::path& path, std::time_t now, std::string& owner) {
  struct stat info{};
  if (::stat(path.c_str(), &info) != 0) return State::none;
  std::string text;
  try {
    text = read_file(path, 65536);
  } catch (const std::exception&) {
    if (::stat(path.c_str(), &info) != 0) return State::none;
    throw;
  }
  const bool silent = now - info.st_mtime > kSilentSeconds;
  if (text.empty() && silent) return State::ended;
  owner = "a beginning";
  if (text.empty()) return State::alive;
  Json json;
  try {
    json = parse_json(text);
  } catch (const std::exception&) {
  }
  if (text_in(json, "format") != kFormat) {
    throw std::runtime_error("there is a file '" + path.string() +
                             "' that is no lock of fused-rnn");
  }
  owner = text_in(json, "what") + " of process " + std::to_string(number_in(json, "pid")) +
          " on '" + text_in(json, "host") + "', since " + text_in(json, "since") + ",";
  return is_alive(json).value_or(!silent) ? State::alive : State::ended;
}

std::time_t time_of(int file) {
  struct stat info{};
  ::fstat(file, &info);
  return info.st_mtime;
}

// Replaces a lock whose owner has ended. False: somebody else was faster.
bool take_over(const fs::path& path, const fs::path& temporary, std::time_t now) {
  const fs::path guard = path.string() + ".takeover";
  const int file = ::open(guard.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (file < 0) {
    struct stat info{};
    if (::stat(guard.c_str(), &info) == 0 && now - info.st_mtime > kTakingOverSeconds) {
      ::unlink(guard.c_str());
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
    return false;
  }
  ::close(file);
  bool taken = false;
  try {
    std::string owner;
    taken = state_of(path, now, owner) == State::ended &&
            ::rename(temporary.c_str(), path.c_str()) == 0;
  } catch (...) {
    ::unlink(guard.c_str());
    throw;
  }
  ::unlink(guard.c_str());
  return taken;
}

}  // namespace

std::string writer_name() {
  return sha256(machine()).substr(0, 8) + "." + std::to_string(::getpid());
}

FolderLock::FolderLock(const fs::path& folder) : path_(folder / kName), text_(owner_text()) {
  const fs::path temporary = path_.string() + "." + writer_name() + "." + random_name() + ".tmp";
  file_ = ::open(temporary.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (file_ < 0) throw std::runtime_error(std::strerror(errno));
  try {
    touch();
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(kWaitSeconds);
    while (::link(temporary.c_str(), path_.c_str()) != 0) {
      if (errno != EEXIST) throw std::runtime_error(std::strerror(errno));
      // What was written just now has the file system's time.
      touch();
      const std::time_t now = time_of(file_);
      std::string owner;
      const State state = state_of(path_, now, owner);
      if (state == State::ended && take_over(path_, temporary, now)) break;
      if (state != State::alive) continue;
      if (std::chrono::steady_clock::now() > end) {
        throw std::runtime_error(owner + " is at work there; wait for its end, or end it");
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
  } catch (...) {
    ::unlink(temporary.c_str());
    ::close(file_);
    throw;
  }
  ::unlink(temporary.c_str());
}

FolderLock::~FolderLock() {
  struct stat own{}, found{};
  if (::fstat(file_, &own) == 0 && ::stat(path_.c_str(), &found) == 0 &&
      own.st_ino == found.st_ino && own.st_dev == found.st_dev) {
    ::unlink(path_.c_str());
  }
  ::close(file_);
}

void FolderLock::touch() const {
  if (::pwrite(file_, text_.data(), text_.size(), 0) != static_cast<ssize_t>(text_.size())) {
    throw std::runtime_error(std::strerror(errno == 0 ? ENOSPC : errno));
  }
}

void FolderLock::moved(const fs::path& folder) { path_ = folder / kName; }

}  // namespace fused_rnn
