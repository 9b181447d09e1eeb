// What the lanes of a warp do together.
#include "cuda_host/block.h"

namespace cuda_host {

int lane() { return current % kLanes; }

uint64_t exchange(WarpCall call, unsigned mask, uint64_t value, int source) {
  const int own = lane(), first = current - own;
  Warp& warp = block->warps[static_cast<size_t>(current / kLanes)];
  const int beyond = static_cast<int>(block->threads.size()) - first;  // lanes that are not there
  const unsigned there = beyond >= kLanes ? ~0u : (1u << beyond) - 1;
  if ((mask >> own & 1) == 0) die_in_block("a lane calls a warp operation that does not name it");
  if (call == WarpCall::shuffle && ((mask & there) >> source & 1) == 0) {
    die_in_block("a shuffle reads from a lane that takes no part");
  }
  Meeting* meeting = nullptr;
  for (int i = 0; i < warp.count; ++i) {
    if (warp.meetings[i].mask == mask && warp.meetings[i].call == call) {
      meeting = &warp.meetings[i];
    }
  }
  if (meeting == nullptr) {
    for (int i = 0; i < kLanes; ++i) {
      if ((mask & there) >> i & 1 && thread_of(first + i).state == State::done) {
        die_in_block("a warp operation names a lane that has ended");
      }
    }
    meeting = &warp.meetings[warp.count++];
    meeting->call = call;
    meeting->mask = mask;
    meeting->arrived = 0;
  }
  thread_of(current).source = source;
  meeting->values[own] = value;
  meeting->arrived |= 1u << own;
  if (meeting->arrived == (mask & there)) {
    uint64_t votes = 0;
    for (int i = 0; i < kLanes; ++i) {
      if (meeting->arrived >> i & 1 && meeting->values[i] != 0) votes |= 1u << i;
    }
    for (int i = 0; i < kLanes; ++i) {
      if ((meeting->arrived >> i & 1) == 0) continue;
      Thread& thread = thread_of(first + i);
      thread.result = call == WarpCall::vote ? votes : meeting->values[thread.source];
      block->ready.push_back(first + i);
    }
    *meeting = warp.meetings[--warp.count];
    mix();
  }
  wait_as(State::in_warp);
  return thread_of(current).result;
}

namespace {

void multiply(Warp::Products::Tiles& tiles, int depth) {
  double b[kMostTileDepth][8];
  for (int k = 0; k < depth; ++k) {
    for (int j = 0; j < 8; ++j) b[k][j] = static_cast<double>(tiles.b[k][j]);
  }
  for (int i = 0; i < 16; ++i) {
    double sums[8] = {};
    for (int k = 0; k < depth; ++k) {
      const auto a = static_cast<double>(tiles.a[i][k]);
      for (int j = 0; j < 8; ++j) sums[j] += a * b[k][j];
    }
    for (int j = 0; j < 8; ++j) tiles.sums[i][j] = static_cast<float>(sums[j]);
  }
}

}  // namespace

void multiply_tiles(const TileProduct* products, int count, int of_word) {
  if (count > kMostTileProducts) die_in_block("too many products of tiles at once");
  const int own = lane(), g = own / 4, t = own % 4;
  auto& [untaken, tiles] = block->warps[static_cast<size_t>(current / kLanes)]
                               .products[thread_of(current).products++ % 2];
  const auto take = [&](uint32_t word, float* numbers, int stride) {
    // Of one in TF32 the tensor cores do not look at the last 13 bits.
    const uint32_t bits[2] = {of_word == 1 ? word & ~0x1fffu : word << 16, word & ~0xffffu};
    for (int j = 0; j < of_word; ++j) std::memcpy(numbers + j * stride, &bits[j], sizeof bits[j]);
  };
  for (int n = 0; n < count; ++n) {
    for (int i = 0; i < 4; ++i) {
      take(products[n].a[i], &tiles[n].a[g + i % 2 * 8][(t + i / 2 * 4) * of_word], 1);
    }
    for (int i = 0; i < 2; ++i) take(products[n].b[i], &tiles[n].b[(t + i * 4) * of_word][g], 8);
  }
  exchange(WarpCall::product, ~0u, 0, own);
  // The first lane that goes on multiplies for all: whole rows at a time.
  if (untaken == 0) {
    for (int n = 0; n < count; ++n) multiply(tiles[n], 8 * of_word);
    untaken = kLanes;
  }
  untaken -= 1;
  for (int n = 0; n < count; ++n) {
    for (int i = 0; i < 4; ++i) products[n].sums[i] += tiles[n].sums[g + i / 2 * 8][2 * t + i % 2];
  }
}

}  // namespace cuda_host
