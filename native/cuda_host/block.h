// A block that runs: its threads, what they wait for, its shared memory. For blocks.cpp and what
// threads may call: warps.cpp, clusters.cpp.
#pragma once

#include <memory>
#include <vector>

#include "cuda_host/fibers.h"
#include "cuda_host/internal.h"

namespace cuda_host {

constexpr int kLanes = 32;
constexpr int kMostWarps = 32;
constexpr int kMostTileDepth = 16;

enum class State { ready, in_warp, at_barrier, at_cluster_barrier, at_grid_barrier, done };

struct Thread {
  Fiber* fiber = nullptr;
  State state = State::ready;
  dim3 index;
  int source = 0;                    // the lane whose value it wants
  int products = 0;                  // of tiles, so far
  uint64_t result = 0;               // of a warp operation
  unsigned arrivals = 0, waits = 0;  // at its cluster's barrier
};

// A warp operation that some of its lanes have come to.
struct Meeting {
  WarpCall call;
  unsigned mask, arrived;
  uint64_t values[kLanes];
};

// Groups of lanes may be in operations of their own while others wait for them. Where lanes name
// each other differently, or call different things, they wait for ever, which is noticed.
struct Warp {
  int count = 0;
  Meeting meetings[kLanes];
  // Products of tiles: one may still be read when the next one is begun.
  struct Products {
    int untaken = 0;  // lanes that have not had their part of the sums
    struct Tiles {
      // The numbers of each word lie one after the other.
      float a[16][kMostTileDepth], b[kMostTileDepth][8], sums[16][8];
    } tiles[kMostTileProducts];
  } products[2];
};

// An array in shared memory.
struct SharedArray {
  const void* key;
  size_t offset;
};

struct Block;
// Blocks that follow each other in a launch of clusters.
struct Cluster {
  std::vector<Block*> blocks;  // by rank
  size_t arrived = 0;          // threads, at its barrier
  unsigned rounds = 0;         // how many times all have
};

struct Block {
  dim3 index;
  Cluster* cluster = nullptr;
  std::vector<Thread> threads;
  std::unique_ptr<Warp[]> warps{new Warp[kMostWarps]};
  bool begun = false;
  std::vector<int> ready;  // threads that can go on
  std::vector<int> idle;   // that let others run
  int at_barrier = 0, at_grid_barrier = 0, done = 0;
  std::source_location barrier;    // where the first thread at it is
  int votes = 0, vote_result = 0;  // of __syncthreads_count
  std::vector<SharedArray> arrays;
  size_t shared_used = 0, dynamic_bytes = 0;
  std::unique_ptr<float4[]> shared{new float4[kMostShared / sizeof(float4)]};
};

// Of the thread that runs now.
extern Block* block;
extern int current;

inline Thread& thread_of(int index) { return block->threads[static_cast<size_t>(index)]; }
inline unsigned char* shared_bytes(Block& of) {
  return reinterpret_cast<unsigned char*>(of.shared.get());
}
inline bool ended(const Block& of) { return of.done == static_cast<int>(of.threads.size()); }
[[noreturn]] void die_in_block(const char* what);
// Lets other threads run until this one is made ready again.
void wait_as(State state);
// After others were made ready: one of all that are comes next, so that warps change places.
void mix();
void shuffle(std::vector<int>& list);

}  // namespace cuda_host
