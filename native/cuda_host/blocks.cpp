// Blocks of threads: how a kernel runs on the host.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <numeric>
#include <utility>
#include <vector>

#include "cuda_host/block.h"

namespace cuda_host {

Position position;
Block* block;
int current;

namespace {

const std::function<void()>* body;

// As many as have run at once.
std::vector<std::unique_ptr<Block>>& all_blocks() {
  static auto* instance = new std::vector<std::unique_ptr<Block>>;
  return *instance;
}

// Calls of let_others_run() since a thread last made progress.
int idle = 0;
constexpr int kMostIdle = 10'000'000;

// A fiber stays on its thread.
thread_local std::vector<std::unique_ptr<Fiber>> all_fibers;
thread_local std::vector<Fiber*> free_fibers;

Fiber* take_fiber() {
  if (free_fibers.empty()) {
    all_fibers.push_back(std::make_unique<Fiber>());
    return all_fibers.back().get();
  }
  Fiber* fiber = free_fibers.back();
  free_fibers.pop_back();
  return fiber;
}

void take_next() {
  block->begun = true;
  current = block->ready.back();
  block->ready.pop_back();
  thread_of(current).state = State::ready;
  position.thread = thread_of(current).index;
}

// Runs threads from their beginning to their end as long as none of them waits; one that does keeps
// this fiber.
void run_threads(void*) {
  Fiber* const own = thread_of(current).fiber;
  for (;;) {
    (*body)();
    Thread& thread = thread_of(current);
    thread.state = State::done;
    thread.fiber = nullptr;
    block->done += 1;
    idle = 0;
    if (block->at_barrier > 0) die_in_block("a thread ends while others wait at __syncthreads");
    if (block->cluster != nullptr && block->cluster->arrived > 0) {
      die_in_block("a thread ends while others wait at the cluster's barrier");
    }
    const bool goes_on = !block->ready.empty() && thread_of(block->ready.back()).fiber == nullptr;
    if (!goes_on) break;
    take_next();
    thread_of(current).fiber = own;
  }
  free_fibers.push_back(own);
}

void make_all_ready() {
  for (size_t i = 0; i < block->threads.size(); ++i) block->ready.push_back(static_cast<int>(i));
  shuffle(block->ready);
}

void enter(Block* which) {
  block = which;
  position.block = which->index;
}

void begin_block(Block* which, dim3 index, dim3 size, size_t dynamic_bytes) {
  which->index = index;
  which->cluster = nullptr;
  which->begun = false;
  enter(which);
  const size_t count = size_t{size.x} * size.y * size.z;
  block->threads.assign(count, {});
  for (size_t i = 0; i < (count + kLanes - 1) / kLanes; ++i) block->warps[i].count = 0;
  block->at_barrier = block->at_grid_barrier = block->done = block->votes = 0;
  block->arrays.clear();
  block->dynamic_bytes = dynamic_bytes;
  block->shared_used = (dynamic_bytes + 15) / 16 * 16;
  std::memset(shared_bytes(*block), 0xff, block->shared_used);
  auto thread = block->threads.begin();
  for (unsigned z = 0; z < size.z; ++z) {
    for (unsigned y = 0; y < size.y; ++y) {
      for (unsigned x = 0; x < size.x; ++x) (thread++)->index = dim3(x, y, z);
    }
  }
  block->ready.clear();
  block->idle.clear();
  make_all_ready();
}

// Whether there were threads that let others run; they go on.
bool wake_idle() {
  const bool any = !block->idle.empty();
  block->ready.insert(block->ready.end(), block->idle.begin(), block->idle.end());
  block->idle.clear();
  shuffle(block->ready);
  return any;
}

// Runs a thread that can go on, until it waits, and others that begin and end meanwhile.
void run_some() {
  take_next();
  Thread& thread = thread_of(current);
  if (thread.fiber == nullptr) {
    thread.fiber = take_fiber();
    thread.fiber->prepare(&run_threads, nullptr);
  }
  thread.fiber->enter();
}

[[noreturn]] void die_stuck() {
  for (const Thread& thread : block->threads) {
    // One that waits, for the message.
    if (thread.state != State::done) position.thread = thread.index;
  }
  const bool at_cluster_barrier = block->cluster != nullptr && block->cluster->arrived > 0;
  die_in_block(block->at_grid_barrier > 0 ? "not all threads of a grid come to its barrier"
               : block->at_barrier > 0    ? "not all threads of a block come to __syncthreads"
               : at_cluster_barrier       ? "not all threads of a cluster come to its barrier"
                                          : "not all lanes that a warp operation names come to it");
}

dim3 block_index(int number, dim3 grid) {
  const auto n = static_cast<unsigned>(number);
  return dim3(n % grid.x, n / grid.x % grid.y, n / grid.x / grid.y);
}

Block* block_number(size_t i) {
  while (all_blocks().size() <= i) all_blocks().push_back(std::make_unique<Block>());
  return all_blocks()[i].get();
}

// Of a launch whose blocks need not all be there at once.
constexpr size_t kBlocksAtOnce = 3;

// A block begins in the place of one that has ended, as on a GPU that has room for so many: one that
// waits for a later block waits for ever.
void run_few_at_a_time(dim3 grid, dim3 size, size_t shared, const std::vector<int>& order) {
  const size_t places = std::min(order.size(), kBlocksAtOnce);
  size_t begun = 0, all_ended = 0;
  std::vector<bool> taken(places);
  while (all_ended < order.size()) {
    std::vector<size_t> able;
    for (size_t i = 0; i < places; ++i) {
      if (taken[i] ? !block_number(i)->ready.empty() : begun < order.size()) able.push_back(i);
    }
    if (able.empty()) {
      bool any_idle = false;
      for (size_t i = 0; i < places; ++i) {
        if (!taken[i]) continue;
        enter(block_number(i));
        if (wake_idle()) any_idle = true;
      }
      for (size_t i = 0; !any_idle && i < places; ++i) {
        if (!taken[i]) continue;
        enter(block_number(i));
        die_stuck();
      }
      continue;
    }
    const size_t i = able[dice()() % able.size()];
    if (!taken[i]) {
      begin_block(block_number(i), block_index(order[begun++], grid), size, shared);
      taken[i] = true;
    }
    enter(block_number(i));
    for (auto left = dice()() % 256; !block->ready.empty(); --left) {
      run_some();
      if (left == 0) break;
    }
    if (!ended(*block)) continue;
    taken[i] = false;
    all_ended += 1;
  }
}

}  // namespace

void die_in_block(const char* what) {
  char text[512];
  std::snprintf(text, sizeof text, "%s (block %u,%u,%u, thread %u,%u,%u of %zu)", what,
                position.block.x, position.block.y, position.block.z, position.thread.x,
                position.thread.y, position.thread.z, block->threads.size());
  die(text);
}

void shuffle(std::vector<int>& list) {
  for (size_t i = list.size(); i > 1; --i) std::swap(list[i - 1], list[dice()() % i]);
}

void wait_as(State state) {
  Thread& thread = thread_of(current);
  // Lanes that poll may vote on it.
  if (state != State::ready && state != State::in_warp) idle = 0;
  thread.state = state;
  thread.fiber->leave();
}

void mix() { std::swap(block->ready.back(), block->ready[dice()() % block->ready.size()]); }

int block_barrier(int predicate, std::source_location where) {
  if (block->done > 0) die_in_block("__syncthreads after other threads have ended");
  if (block->at_barrier == 0) {
    block->barrier = where;
  } else if (where.line() != block->barrier.line() || where.column() != block->barrier.column() ||
             std::strcmp(where.file_name(), block->barrier.file_name()) != 0) {
    char text[256];
    std::snprintf(text, sizeof text,
                  "threads of a block are at different __syncthreads: lines %u and %u of %s",
                  static_cast<unsigned>(block->barrier.line()), static_cast<unsigned>(where.line()),
                  where.file_name());
    die_in_block(text);
  }
  block->votes += predicate != 0;
  block->at_barrier += 1;
  if (block->at_barrier == static_cast<int>(block->threads.size())) {
    block->at_barrier = 0;
    block->vote_result = std::exchange(block->votes, 0);
    // In any order, this one among them.
    make_all_ready();
  }
  wait_as(State::at_barrier);
  return block->vote_result;
}

void grid_barrier() {
  if (!position.whole_grid) die_in_block("a barrier of the grid in a launch of single blocks");
  if (block->done > 0) die_in_block("a barrier of the grid after other threads have ended");
  block->at_grid_barrier += 1;
  wait_as(State::at_grid_barrier);
}

void let_others_run() {
  if (++idle > kMostIdle) die_in_block("threads wait for what no thread writes");
  // Mostly after all that can be done without it, as it would only poll.
  if (dice()() % 8 == 0) {
    block->ready.push_back(current);
    mix();
  } else {
    block->idle.push_back(current);
  }
  wait_as(State::ready);
}

void* shared_memory(const void* key, size_t bytes) {
  for (const SharedArray& array : block->arrays) {
    if (array.key == key) return shared_bytes(*block) + array.offset;
  }
  const size_t offset = block->shared_used;
  block->shared_used = (offset + bytes + 15) / 16 * 16;
  const size_t statics = block->shared_used - (block->dynamic_bytes + 15) / 16 * 16;
  if (statics > kMostStaticShared) die_in_block("more than 48 KB of arrays in shared memory");
  if (block->shared_used > kMostShared) die_in_block("more shared memory than a block can have");
  std::memset(shared_bytes(*block) + offset, 0xff, bytes);
  block->arrays.push_back({key, offset});
  return shared_bytes(*block) + offset;
}

void* dynamic_shared() {
  if (block->dynamic_bytes == 0) die_in_block("a launch without the shared memory that it uses");
  return shared_bytes(*block);
}

void run_grid(dim3 grid, dim3 size, size_t shared, bool whole, unsigned of_cluster,
              const std::function<void()>& thread) {
  body = &thread;
  position.grid_size = grid;
  position.block_size = size;
  position.whole_grid = whole;
  std::vector<int> order(size_t{grid.x} * grid.y * grid.z);
  std::iota(order.begin(), order.end(), 0);
  shuffle(order);
  if (!whole) return run_few_at_a_time(grid, size, shared, order);
  std::vector<Cluster> clusters(of_cluster > 0 ? order.size() / of_cluster : 0);
  for (Cluster& cluster : clusters) cluster.blocks.resize(of_cluster);
  for (size_t i = 0; i < order.size(); ++i) {
    begin_block(block_number(i), block_index(order[i], grid), size, shared);
    if (of_cluster == 0) continue;
    const auto number = static_cast<size_t>(order[i]);
    block->cluster = &clusters[number / of_cluster];
    block->cluster->blocks[number % of_cluster] = block;
  }
  for (;;) {
    std::vector<int> able;
    size_t waiting = 0, all_ended = 0;
    for (size_t i = 0; i < order.size(); ++i) {
      enter(block_number(i));
      if (!block->ready.empty()) able.push_back(static_cast<int>(i));
      if (block->at_grid_barrier == static_cast<int>(block->threads.size())) waiting += 1;
      if (ended(*block)) all_ended += 1;
    }
    if (all_ended == order.size()) return;
    if (!able.empty()) {
      enter(block_number(static_cast<size_t>(able[dice()() % able.size()])));
      // For a while, as to look at all blocks takes longer than what a thread does.
      for (auto left = dice()() % 256; !block->ready.empty(); --left) {
        run_some();
        if (left == 0) break;
      }
      continue;
    }
    bool any_idle = false;
    for (size_t i = 0; i < order.size(); ++i) {
      enter(block_number(i));
      if (wake_idle()) any_idle = true;
    }
    if (any_idle) continue;
    for (size_t i = 0; i < order.size(); ++i) {
      enter(block_number(i));
      if (waiting < order.size() && !ended(*block)) die_stuck();
      if (waiting < order.size()) continue;
      block->at_grid_barrier = 0;
      make_all_ready();
    }
  }
}

}  // namespace cuda_host
