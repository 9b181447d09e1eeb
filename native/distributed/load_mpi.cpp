// Opens MPI. Source of the numbers: the MPI standard where it fixes them, else the mpi.h of Open
// MPI 3 to 5 (handles are addresses of objects in the library) and of MPICH 3 and 4, whose binary
// interface Intel MPI and others share (handles are integers).
#if !defined(_WIN32)
#include <signal.h>
#include <unistd.h>
#endif

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <initializer_list>
#include <limits>
#include <stdexcept>
#include <thread>
#include <vector>

#include "core/library.h"
#include "distributed/mpi.h"

namespace fused_rnn::distributed {
namespace {

constexpr int kThreadFunneled = 1;
constexpr int kLeftTag = 1;
// MPI counts in int.
constexpr int64_t kMostAtOnce = int64_t{1} << 30;

struct Status {
  alignas(8) char bytes[64];  // Open MPI's has 24, MPICH's 20
};

// Functions by their exported names without MPI_. H: a handle.
template <class H>
struct Functions {
  int (*Init_thread)(int*, char***, int required, int* provided);
  int (*Initialized)(int*);
  int (*Finalize)();
  int (*Abort)(H comm, int code);
  int (*Get_library_version)(char*, int*);
  int (*Error_string)(int, char*, int*);
  int (*Comm_dup)(H comm, H* copy);
  int (*Comm_free)(H* comm);
  int (*Comm_set_errhandler)(H comm, H handler);
  int (*Comm_rank)(H comm, int*);
  int (*Comm_size)(H comm, int*);
  int (*Iallreduce)(const void*, void*, int, H type, H op, H comm, H* request);
  int (*Ibcast)(void*, int, H type, int root, H comm, H* request);
  int (*Iallgather)(const void*, int, H type, void*, int, H receive_type, H comm, H* request);
  int (*Ibarrier)(H comm, H* request);
  int (*Test)(H* request, int* done, Status*);
  int (*Isend)(const void*, int, H type, int to, int tag, H comm, H* request);
  int (*Iprobe)(int from, int tag, H comm, int* found, Status*);
  int (*Recv)(void*, int, H type, int from, int tag, H comm, Status*);
};

template <class H>
struct Constants {
  H world, errors_return, float32, int32;
  H ops[4];  // by Reduce
  void* in_place;
  int any_source;
  size_t source;  // where MPI_SOURCE is in a Status
};

template <class H>
bool find_all(void* library, Functions<H>& f) {
  return find(library, "MPI_Init_thread", f.Init_thread) &&
         find(library, "MPI_Initialized", f.Initialized) &&
         find(library, "MPI_Finalize", f.Finalize) && find(library, "MPI_Abort", f.Abort) &&
         find(library, "MPI_Get_library_version", f.Get_library_version) &&
         find(library, "MPI_Error_string", f.Error_string) &&
         find(library, "MPI_Comm_dup", f.Comm_dup) && find(library, "MPI_Comm_free", f.Comm_free) &&
         find(library, "MPI_Comm_set_errhandler", f.Comm_set_errhandler) &&
         find(library, "MPI_Comm_rank", f.Comm_rank) &&
         find(library, "MPI_Comm_size", f.Comm_size) &&
         find(library, "MPI_Iallreduce", f.Iallreduce) && find(library, "MPI_Ibcast", f.Ibcast) &&
         find(library, "MPI_Iallgather", f.Iallgather) &&
         find(library, "MPI_Ibarrier", f.Ibarrier) && find(library, "MPI_Test", f.Test) &&
         find(library, "MPI_Isend", f.Isend) && find(library, "MPI_Iprobe", f.Iprobe) &&
         find(library, "MPI_Recv", f.Recv);
}

bool find_all(void* library, Constants<void*>& c) {
  const auto object = [&](const char* name, void*& address) {
    return find(library, name, address);
  };
  c.in_place = reinterpret_cast<void*>(1);
  c.any_source = -1;
  c.source = 0;
  return object("ompi_mpi_comm_world", c.world) &&
         object("ompi_mpi_errors_return", c.errors_return) && object("ompi_mpi_float", c.float32) &&
         object("ompi_mpi_int", c.int32) && object("ompi_mpi_op_sum", c.ops[0]) &&
         object("ompi_mpi_op_min", c.ops[1]) && object("ompi_mpi_op_max", c.ops[2]) &&
         object("ompi_mpi_op_prod", c.ops[3]);
}

constexpr Constants<int> kMpich = {
    .world = 0x44000000,
    .errors_return = 0x54000001,
    .float32 = 0x4c00040a,
    .int32 = 0x4c000405,
    .ops = {0x58000003, 0x58000002, 0x58000001, 0x58000004},
    .in_place = nullptr,  // (void*)-1, which no constant may be
    .any_source = -2,
    .source = 8,
};

template <class H>
class MpiOf : public Mpi {
 public:
  MpiOf(const Functions<H>& functions, const Constants<H>& constants)
      : mpi_(functions), is_(constants) {}

  std::string version() override {
    std::vector<char> text(8192 + 1);
    int length = 0;
    mpi_.Get_library_version(text.data(), &length);
    const std::string all(text.data());
    return all.substr(0, all.find_first_of(",\n"));
  }

  void init() override {
    int already = 0;
    mpi_.Initialized(&already);
    if (already) throw std::runtime_error("somebody else has initialised MPI in this process");
    int provided = 0;
    check(mpi_.Init_thread(nullptr, nullptr, kThreadFunneled, &provided), "MPI_Init_thread");
    check(mpi_.Comm_set_errhandler(is_.world, is_.errors_return), "MPI_Comm_set_errhandler");
    check(mpi_.Comm_rank(is_.world, &rank_), "MPI_Comm_rank");
    check(mpi_.Comm_size(is_.world, &size_), "MPI_Comm_size");
  }

  void join() override {
    check(mpi_.Comm_dup(is_.world, &comm_), "MPI_Comm_dup");
    check(mpi_.Comm_dup(is_.world, &control_), "MPI_Comm_dup");
    for (H comm : {comm_, control_}) mpi_.Comm_set_errhandler(comm, is_.errors_return);
    farewells_ = 0;
    left_after_.assign(static_cast<size_t>(size_), std::numeric_limits<int64_t>::max());
  }

  void start(const Call& call) override {
    call_ = call;
    done_ = 0;
    start_part();
  }

  bool test() override {
    for (;;) {
      int over = 0;
      Status status;
      check(mpi_.Test(&request_, &over, &status), "MPI_Test");
      if (!over) return false;
      if (done_ >= call_.count) return true;
      start_part();
    }
  }

  void say_left(int64_t after) override {
    farewell_ = after;
    for (int to = 0; to < size_; ++to) {
      if (to == rank_) continue;
      // So short that it is sent at once, whether or not somebody receives it yet.
      H request;
      check(mpi_.Isend(&farewell_, kFarewell, is_.int32, to, kLeftTag, control_, &request),
            "MPI_Isend");
      farewell_requests_.push_back(request);
    }
  }

  int who_left(int64_t number) override {
    for (;;) {
      int found = 0;
      Status status;
      check(mpi_.Iprobe(is_.any_source, kLeftTag, control_, &found, &status), "MPI_Iprobe");
      if (!found) break;
      receive_farewell();
    }
    for (int rank = 0; rank < size_; ++rank) {
      if (left_after_[static_cast<size_t>(rank)] <= number) return rank;
    }
    return -1;
  }

  void start_leaving() override {
    call_ = {};
    done_ = 0;
    check(mpi_.Ibarrier(control_, &request_), "MPI_Ibarrier");
  }

  void end_leaving() override {
    while (farewells_ + 1 < size_) receive_farewell();
    for (H& request : farewell_requests_) {
      int over = 0;
      Status status;
      while (!over) check(mpi_.Test(&request, &over, &status), "MPI_Test");
    }
    farewell_requests_.clear();
    check(mpi_.Comm_free(&comm_), "MPI_Comm_free");
    check(mpi_.Comm_free(&control_), "MPI_Comm_free");
  }

  void finalize() override { check(mpi_.Finalize(), "MPI_Finalize"); }

  void abort(int code) override { mpi_.Abort(is_.world, code); }

 private:
  static constexpr int kFarewell = sizeof(int64_t) / 4;

  void receive_farewell() {
    int64_t after = 0;
    Status status;
    check(mpi_.Recv(&after, kFarewell, is_.int32, is_.any_source, kLeftTag, control_, &status),
          "MPI_Recv");
    int from;
    std::memcpy(&from, status.bytes + is_.source, sizeof from);
    left_after_.at(static_cast<size_t>(from)) = after;
    farewells_ += 1;
  }

  void check(int code, const char* function) {
    if (code == 0) return;
    std::vector<char> text(8192 + 1);
    int length = 0;
    mpi_.Error_string(code, text.data(), &length);
    throw std::runtime_error(std::string(function) + ": " + text.data());
  }

  // The next elements, no more than an int counts.
  void start_part() {
    auto* data = static_cast<char*>(call_.data) + 4 * done_;
    const H type = call_.dtype == DType::int32 ? is_.int32 : is_.float32;
    const auto count = static_cast<int>(std::min(call_.count - done_, kMostAtOnce));
    done_ += count;
    switch (call_.kind) {
      case CollectiveKind::all_reduce:
        return check(mpi_.Iallreduce(is_.in_place, data, count, type,
                                     is_.ops[static_cast<int>(call_.op)], comm_, &request_),
                     "MPI_Iallreduce");
      case CollectiveKind::broadcast:
        return check(mpi_.Ibcast(data, count, type, call_.root, comm_, &request_), "MPI_Ibcast");
      case CollectiveKind::all_gather:
        if (done_ < call_.count) throw std::runtime_error("more elements than MPI counts");
        return check(mpi_.Iallgather(is_.in_place, 0, type, data, count, type, comm_, &request_),
                     "MPI_Iallgather");
      case CollectiveKind::barrier:
        return check(mpi_.Ibarrier(comm_, &request_), "MPI_Ibarrier");
    }
  }

  const Functions<H> mpi_;
  const Constants<H> is_;
  H comm_{}, control_{}, request_{};
  Call call_;
  int64_t done_ = 0;
  int64_t farewell_ = 0;             // as sent
  int farewells_ = 0;                // received
  std::vector<int64_t> left_after_;  // by rank
  std::vector<H> farewell_requests_;
};

const char* environment(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr && value[0] != '\0' ? value : nullptr;
}

// Of the first variable that there is, but at least `least`, which is for none.
int number_among(std::initializer_list<const char*> names, int least) {
  for (const char* name : names) {
    if (const char* value = environment(name)) return std::max(least, std::atoi(value));
  }
  return least;
}

// Launchers of MPICH's kind set PMI_SIZE, those of Open MPI OMPI_COMM_WORLD_SIZE.
std::vector<std::string> candidates() {
  if (const char* given = environment("FUSED_RNN_MPI")) return {given};
#if defined(_WIN32)
  return {"msmpi.dll", "impi.dll"};  // MPICH's binary interface
#endif
  std::vector<std::string> open = {"libmpi.so.40", "libmpi.so.80"};
  std::vector<std::string> mpich = {"libmpi.so.12", "libmpich.so.12"};
  const bool by_mpich = environment("PMI_SIZE") && !environment("OMPI_COMM_WORLD_SIZE");
  std::vector<std::string> names = by_mpich ? mpich : open;
  const auto& others = by_mpich ? open : mpich;
  names.insert(names.end(), others.begin(), others.end());
  names.push_back("libmpi.so");
  return names;
}

}  // namespace

std::unique_ptr<Mpi> open_mpi(std::string& why) {
  std::string first;
  for (const std::string& name : candidates()) {
    std::string error;
    void* library = open_library(name, Symbols::shared, error);
    if (library == nullptr) {
      if (first.empty()) first = error;
      continue;
    }
    Constants<void*> objects{};
    Functions<void*> with_objects{};
    if (find_all(library, objects) && find_all(library, with_objects))
      return std::make_unique<MpiOf<void*>>(with_objects, objects);
    Functions<int> with_numbers{};
    if (find_symbol(library, "ompi_mpi_comm_world") == nullptr && find_all(library, with_numbers)) {
      Constants<int> numbers = kMpich;
      numbers.in_place = reinterpret_cast<void*>(-1);
      return std::make_unique<MpiOf<int>>(with_numbers, numbers);
    }
    if (first.empty()) first = name + " is neither Open MPI 3 or newer nor MPICH 3 or newer";
  }
  why = "no MPI was found (" + first +
        "); install one (Debian, Ubuntu: apt-get install openmpi-bin libopenmpi-dev), or set "
        "FUSED_RNN_MPI to its library";
  return nullptr;
}

int launched_processes() {
  // srun --mpi=pmix tells the size only as its own; without PMIx it starts what knows of no others.
  if (environment("PMIX_RANK"))
    return number_among({"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS"}, 1);
  return number_among({"OMPI_COMM_WORLD_SIZE", "PMI_SIZE"}, 1);
}

int launched_rank() {
  return number_among({"OMPI_COMM_WORLD_RANK", "PMI_RANK", "PMIX_RANK", "SLURM_PROCID"}, 0);
}

int local_processes() { return number_among({"OMPI_COMM_WORLD_LOCAL_SIZE", "MPI_LOCALNRANKS"}, 1); }

int local_rank() {
  if (environment("PMIX_RANK"))
    return number_among({"OMPI_COMM_WORLD_LOCAL_RANK", "MPI_LOCALRANKID", "SLURM_LOCALID"}, 0);
  return number_among({"OMPI_COMM_WORLD_LOCAL_RANK", "MPI_LOCALRANKID"}, 0);
}

#if defined(_WIN32)
void end_launcher() noexcept {}  // Open MPI is not for Windows
#else
void end_launcher() noexcept {
  if (environment("OMPI_COMM_WORLD_RANK") == nullptr) return;
  const pid_t parent = getppid();
  char path[64], name[32] = "";
  std::snprintf(path, sizeof path, "/proc/%d/comm", static_cast<int>(parent));
  std::FILE* file = std::fopen(path, "r");
  if (file == nullptr) return;
  const bool named = std::fscanf(file, "%31s", name) == 1;
  std::fclose(file);
  const auto is = [&](const char* other) { return named && std::strcmp(name, other) == 0; };
  if (!is("mpirun") && !is("mpiexec") && !is("orterun")) return;
  // Its first answer is to send this one a SIGTERM.
  std::signal(SIGTERM, SIG_IGN);
  if (kill(parent, SIGTERM) != 0) return;
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  if (getppid() == parent) kill(parent, SIGTERM);
}
#endif

}  // namespace fused_rnn::distributed
