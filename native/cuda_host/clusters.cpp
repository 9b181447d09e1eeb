// What the blocks of a cluster do together.
#include <algorithm>

#include "cuda_host/block.h"

namespace cuda_host {
namespace {

Cluster& own_cluster(const char* otherwise) {
  if (block->cluster == nullptr) die_in_block(otherwise);
  return *block->cluster;
}

}  // namespace

int cluster_rank() {
  const Cluster& cluster = own_cluster("a rank in a launch without clusters");
  return static_cast<int>(std::find(cluster.blocks.begin(), cluster.blocks.end(), block) -
                          cluster.blocks.begin());
}

void cluster_arrive() {
  Cluster& cluster = own_cluster("a barrier of the cluster in a launch without clusters");
  Thread& thread = thread_of(current);
  if (thread.arrivals != thread.waits) {
    die_in_block("a thread arrives at the cluster's barrier twice");
  }
  size_t threads = 0;
  for (const Block* of : cluster.blocks) {
    if (of->done > 0) die_in_block("a barrier of the cluster after other threads have ended");
    threads += of->threads.size();
  }
  thread.arrivals += 1;
  cluster.arrived += 1;
  if (cluster.arrived < threads) return;
  cluster.arrived = 0;
  cluster.rounds += 1;
  for (Block* of : cluster.blocks) {
    for (size_t i = 0; i < of->threads.size(); ++i) {
      if (of->threads[i].state == State::at_cluster_barrier) {
        of->threads[i].state = State::ready;
        of->ready.push_back(static_cast<int>(i));
      }
    }
    shuffle(of->ready);
  }
}

void cluster_wait() {
  const Cluster& cluster = own_cluster("a barrier of the cluster in a launch without clusters");
  Thread& thread = thread_of(current);
  if (thread.arrivals == thread.waits) {
    die_in_block("a thread waits at the cluster's barrier without arriving");
  }
  if (cluster.rounds == thread.waits) wait_as(State::at_cluster_barrier);
  thread_of(current).waits += 1;
}

void* shared_of_rank(void* own, int rank) {
  const Cluster& cluster = own_cluster("a rank in a launch without clusters");
  if (rank < 0 || rank >= static_cast<int>(cluster.blocks.size())) {
    die_in_block("a rank that the cluster does not have");
  }
  const auto offset = static_cast<size_t>(static_cast<unsigned char*>(own) - shared_bytes(*block));
  Block& other = *cluster.blocks[static_cast<size_t>(rank)];
  if (!other.begun) die_in_block("the shared memory of a block that has not begun");
  if (ended(other)) die_in_block("the shared memory of a block that has ended");
  if (offset >= other.shared_used) die_in_block("an address that is not of shared memory");
  return shared_bytes(other) + offset;
}

}  // namespace cuda_host
