#include "api/lock.h"

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <thread>

#include "api/files.h"
#include "api/json.h"
#include "api/sha256.h"
#include "api/system.h"

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

std::string machine() {
  return sys::host_name() + " " + line_of("/proc/sys/kernel/random/boot_id") + " " +
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
  if (slash == std::string::npos || std::atol(link.c_str()) != sys::own_process()) return 0;
  return std::atol(link.c_str() + slash + 1);
}

std::string now_text() {
  using namespace std::chrono;
  const auto now = floor<seconds>(system_clock::now());
  const auto day = floor<days>(now);
  const year_month_day date(day);
  const hh_mm_ss time(now - day);
  char text[64];
  std::snprintf(text, sizeof text, "%04d-%02u-%02uT%02d:%02d:%02dZ", static_cast<int>(date.year()),
                static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()),
                static_cast<int>(time.hours().count()), static_cast<int>(time.minutes().count()),
                static_cast<int>(time.seconds().count()));
  return text;
}

std::string owner_text() {
  const long thread = own_thread();
  const std::string started =
      thread == 0 ? "null" : json_string(thread_of(sys::own_process(), thread)->started);
  return std::string("{\"format\":") + json_string(kFormat) +
         ",\"token\":" + json_string(random_name()) +
         ",\"what\":\"a saving\",\"pid\":" + std::to_string(sys::own_process()) +
         ",\"thread\":" + (thread == 0 ? "null" : std::to_string(thread)) +
         ",\"started\":" + started + ",\"host\":" + json_string(sys::host_name()) +
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
  if (sys::has_ended(process)) return false;
  // Where threads cannot be seen, another process may have the number by now.
  if (thread == 0 || own_thread() == 0) return {};
  const std::optional<Thread> found = thread_of(process, thread);
  if (!found) return !fs::exists("/proc/" + std::to_string(process) + "/task");
  return found->started == text_in(owner, "started") && found->state != "Z" && found->state != "X";
}

enum class State { none, alive, ended };

// `now` as the file system has it; `owner` is set where one is alive.
State state_of(const fs::path& path, long long now, std::string& owner) {
  sys::Info info;
  if (!sys::info_of(path, info)) return State::none;
  std::string text;
  try {
    text = read_file(path, 65536);
  } catch (const std::exception&) {
    if (!sys::info_of(path, info)) return State::none;
    throw;
  }
  const bool silent = now - info.seconds > kSilentSeconds;
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

std::string wrong_now() { return std::strerror(errno); }

// Writes a lock's text again. Returns the file system's time, in seconds.
long long write_again(const fs::path& path, const std::string& text) {
  const int file = sys::open(path, sys::Open::update);
  sys::Info info;
  const bool done = file >= 0 && sys::overwrite(file, text) && sys::info_of(file, info);
  const std::string why = wrong_now();
  if (file >= 0) sys::close(file);
  if (!done) throw std::runtime_error(why);
  return info.seconds;
}

// Replaces a lock whose owner has ended. False: somebody else was faster.
bool take_over(const fs::path& path, const fs::path& temporary, long long now) {
  const fs::path guard = path.string() + ".takeover";
  const int file = sys::open(guard, sys::Open::fresh);
  if (file < 0) {
    sys::Info info;
    if (sys::info_of(guard, info) && now - info.seconds > kTakingOverSeconds) sys::remove(guard);
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
    return false;
  }
  sys::close(file);
  bool taken = false;
  try {
    std::string owner;
    taken = state_of(path, now, owner) == State::ended && sys::rename(temporary, path);
  } catch (...) {
    sys::remove(guard);
    throw;
  }
  sys::remove(guard);
  return taken;
}

}  // namespace

std::string writer_name() {
  return sha256(machine()).substr(0, 8) + "." + std::to_string(sys::own_process());
}

FolderLock::FolderLock(const fs::path& folder) : path_(folder / kName), text_(owner_text()) {
  const fs::path temporary = path_.string() + "." + writer_name() + "." + random_name() + ".tmp";
  const int file = sys::open(temporary, sys::Open::fresh);
  if (file < 0) throw std::runtime_error(wrong_now());
  // Windows renames no folder of which a file is open.
  sys::close(file);
  try {
    write_again(temporary, text_);
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(kWaitSeconds);
    while (!sys::link(temporary, path_)) {
      if (errno != EEXIST) throw std::runtime_error(wrong_now());
      // What was written just now has the file system's time.
      const long long now = write_again(temporary, text_);
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
    sys::remove(temporary);
    throw;
  }
  sys::remove(temporary);
}

FolderLock::~FolderLock() {
  if (is_own()) sys::remove(path_);
}

bool FolderLock::is_own() const {
  try {
    return read_file(path_, 65536) == text_;
  } catch (const std::exception&) {
    return false;
  }
}

void FolderLock::touch() const {
  if (is_own()) write_again(path_, text_);
}

void FolderLock::moved(const fs::path& folder) { path_ = folder / kName; }

}  // namespace fused_rnn
