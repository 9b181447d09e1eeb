// What is used of MPI, on the one thread that initialises it (MPI_THREAD_FUNNELED). The library is
// opened at run time and nothing of its headers is needed to build: load_mpi.cpp declares what is
// called, once for each of the two binary interfaces there are, Open MPI's and MPICH's.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "ops/collective.h"

namespace fused_rnn::distributed {

// One collective of the whole group. All processes have to make the same ones in the same order.
struct Call : Collective {
  std::shared_ptr<void> owner = nullptr;  // keeps `data`
};

class Mpi {
 public:
  virtual ~Mpi() = default;

  // As the library calls itself: "Open MPI v4.1.4".
  virtual std::string version() = 0;

  // All of these throw std::runtime_error with MPI's own words.
  // Once in a process.
  virtual void init() = 0;
  // Communicators of our own, so that nobody else's messages are met.
  virtual void join() = 0;
  int rank() const { return rank_; }
  int size() const { return size_; }

  // Begins a collective; test() says whether it is over, and has to be called for it to go on. One
  // at a time.
  virtual void start(const Call& call) = 0;
  virtual bool test() = 0;

  // Tells the others that after so many collectives no more will come from here.
  virtual void say_left(int64_t after) = 0;
  // A process that has said so and has not made collective number `number`, from 0, or -1.
  virtual int who_left(int64_t number) = 0;
  // Begins what test() sees the end of when all have said so.
  virtual void start_leaving() = 0;
  // After that; join() may follow.
  virtual void end_leaving() = 0;
  virtual void finalize() = 0;
  // Ends all processes that were started together.
  virtual void abort(int code) = 0;

 protected:
  int rank_ = -1;
  int size_ = 0;
};

// Opens the library. Null when there is none; then `why` says what was looked for.
std::unique_ptr<Mpi> open_mpi(std::string& why);

// How many processes a launcher (mpirun, srun) says it has started with this one; 1 without one.
int launched_processes();
// This one's number among them; 0 without a launcher.
int launched_rank();
// How many of them are on this machine, and which of those this one is.
int local_processes();
int local_rank();
// When the network is cut, Open MPI's mpirun waits for its daemons on the other side until TCP
// gives up, a quarter of an hour. Makes it end at once if it has started this process by itself, as
// its user would by two times Ctrl-C: it kills the processes of this machine, and the daemons that
// it reaches do the same. Then it may end this process.
void end_launcher() noexcept;

}  // namespace fused_rnn::distributed
