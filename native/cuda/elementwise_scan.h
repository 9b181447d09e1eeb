// Linear cells (cells/elementwise.h) on a GPU: one kernel computes all of time, in chunks that are
// computed side by side and hand the state on by decoupled look-back (Merrill & Garland 2016). For
// .cu files.
//
// A block has a warp's width of units for one chunk; its warps divide the steps. Each thread keeps
// its steps in registers, so that the arrays are read once. From the steps a block computes what the
// chunk does to the state before it: state → factor * state + add. It publishes that, then looks
// back from chunk to chunk for the nearest state that is known, carries that state forward through
// the effects of the chunks between, publishes the state behind its own chunk, and writes.
//
// The textbook's look-back combines effects with effects, in groups that depend on which block was
// first, and so do the last bits. Here effects are only ever applied to a state, in the order of
// time: state(k) = factor(k) * state(k - 1) + add(k), rounded once. That number is the same
// whichever block computes it, so that the bits do not depend on timing, while a block still need
// not wait for all those before it.
//
// Blocks take tickets, as the hardware may start them in any order: the chunk before a block's own
// belongs to an earlier ticket, whose block runs already or has ended. So waiting ends.
#pragma once

#include "cuda/elements.h"
#include "cuda/elementwise_walk.h"
#include "cuda/rnn/handoff.h"

namespace fused_rnn::cuda {

constexpr int kPartSteps = 8;  // of a thread
constexpr int kParts = 8;      // of a chunk, a warp each
constexpr int64_t kChunkSteps = kPartSteps * kParts;

// The factor of steps among which the state is reset. No product of others is, as none is below 0,
// and one of it with others stays what it is.
constexpr float kReset = -0.0f;
__device__ inline bool is_reset(float factor) { return bits_of(factor) == 0x80000000u; }

// What some steps do to the state before them.
struct Effect {
  float factor, add;
  // Written out, as the compiler might round otherwise in another place. A NaN ends at a reset.
  __device__ float on(float state) const {
    return is_reset(factor) ? add : fmaf(factor, state, add);
  }
  __device__ Effect after(const Effect& earlier) const {
    return {is_reset(factor) ? factor : factor * earlier.factor, on(earlier.add)};
  }
};

template <class Cell>
struct ScanForward {
  ElementwiseForwardArgs args;
  Rows rows;
  struct Step {
    float keep, add;
  };
  __device__ Step read(int64_t t, int64_t at, int64_t n, int64_t u) const {
    float s[Cell::kBlocks];
    read_blocks(s, args.in.a + at * Cell::kBlocks + u, args.shape.hidden);
    Step step;
    Cell::coefficients(s, step.keep, step.add);
    if (skips(args.in, rows.row(t) + n)) step = {1, 0};
    if (resets(args.in, rows.row(t) + n)) step.keep = kReset;
    return step;
  }
  __device__ static Effect effect(const Step& step) { return {step.keep, step.add}; }
  __device__ void write(const Step& step, int64_t at, int64_t u, float& state) const {
    state = is_reset(step.keep) ? step.add : step.keep * state + step.add;
    args.y[at + u] = state;
  }
};

// The state is the gradient of the old state by all later steps.
template <class Cell>
struct ScanBackward {
  ElementwiseBackwardArgs args;
  Rows rows;
  struct Step {
    float keep, dh, ds[Cell::kBlocks];  // ds: for a gradient of 1
  };
  __device__ Step read(int64_t t, int64_t at, int64_t n, int64_t u) const {
    float s[Cell::kBlocks];
    read_blocks(s, args.in.a + at * Cell::kBlocks + u, args.shape.hidden);
    const float before = state_before(rows, args.shape, args.in, args.states, t, n, u);
    Step step;
    step.keep = Cell::backward(s, before, 1.0f, step.ds);
    step.dh = args.dy != nullptr ? args.dy[at + u] : 0.0f;
    if (skips(args.in, rows.row(t) + n)) {
      step.keep = 1;
#pragma unroll
      for (int b = 0; b < Cell::kBlocks; ++b) step.ds[b] = 0;
    }
    if (resets(args.in, rows.row(t) + n)) step.keep = kReset;
    return step;
  }
  __device__ static Effect effect(const Step& step) {
    return {step.keep, is_reset(step.keep) ? 0.0f : step.keep * step.dh};
  }
  __device__ void write(const Step& step, int64_t at, int64_t u, float& dstate) const {
    const float all = dstate + step.dh;
    dstate = is_reset(step.keep) ? 0.0f : step.keep * all;
#pragma unroll
    for (int b = 0; b < Cell::kBlocks; ++b) {
      args.da[at * Cell::kBlocks + b * args.shape.hidden + u] = all * step.ds[b];
    }
  }
};

// Which chunk of which units a block has. Units are those of all sequences; kWarp of them are a
// group. Blocks are numbered by chunk in the order of the walk, then by group. The longest sequences
// come first, so that a chunk has the first groups.
struct Chunks {
  const int64_t* first;  // [count + 1], the block of each chunk; null: all chunks have all groups
  int64_t count, groups;
  bool small;  // units can be divided in 32 bits

  __device__ int64_t first_block(int64_t chunk) const {
    return first != nullptr ? first[chunk] : chunk * groups;
  }
  __device__ bool has(int64_t chunk, int64_t group) const {
    return chunk >= 0 && (first == nullptr || group < first[chunk + 1] - first[chunk]);
  }
  __device__ int64_t of_block(int64_t block) const {
    if (first == nullptr) return block / groups;
    int64_t low = 0, high = count;
    while (high - low > 1) {
      const int64_t middle = (low + high) / 2;
      (first[middle] <= block ? low : high) = middle;
    }
    return low;
  }
};

// first_block() of every chunk and of the end; empty if all chunks have all groups.
inline std::vector<int64_t> first_blocks(const ElementwiseShape& shape, const Rows& rows,
                                         const Chunks& chunks) {
  if (!is_packed(shape)) return {};
  std::vector<int64_t> first(static_cast<size_t>(chunks.count) + 1);
  for (int64_t chunk = 0; chunk < chunks.count; ++chunk) {
    const int64_t begin = chunk * kChunkSteps, end = std::min(begin + kChunkSteps, shape.steps);
    const int64_t most =
        std::max(shape.batch_sizes[rows.step(begin)], shape.batch_sizes[rows.step(end - 1)]);
    const auto c = static_cast<size_t>(chunk);
    first[c + 1] = first[c] + (most * shape.hidden + kWarp - 1) / kWarp;
  }
  return first;
}

// What blocks tell each other. Everything is kEmpty before the launch; a number is there as soon as
// it is something else (handoff.h), so that nothing needs a fence.
struct Handoff {
  uint32_t* ticket;  // of the block that began last; the first one adds 1 to kEmpty and gets 0
  float *factors, *adds, *states;  // [blocks, kWarp]: a chunk's effect and the state behind it

  __device__ void publish_effect(int64_t at, const Effect& effect) const {
    publish(factors + at, effect.factor);
    publish(adds + at, effect.add);
  }
  __device__ Effect poll_effect(int64_t at) const {
    return {poll(factors + at, true), poll(adds + at, true)};
  }

  // The state before a chunk that is not its group's first one.
  __device__ float look_back(const Chunks& chunks, int64_t chunk, int64_t group, int lane) const {
    const auto place = [&](int64_t of) { return (chunks.first_block(of) + group) * kWarp + lane; };
    int64_t from = chunk;  // the effects of [from, chunk) are there
    float state;
    for (;;) {
      const int64_t at = place(from - 1);
      state = poll(states + at, true);
      const Effect effect = poll_effect(at);
      if (ready(state)) break;
      if (chunks.has(from - 2, group) && ready(effect.factor) && ready(effect.add)) {
        --from;
      } else {
        spin();
      }
    }
#pragma unroll 4
    for (; from < chunk; ++from) state = poll_effect(place(from)).on(state);
    return state;
  }
};

template <class Kind>
__global__ void __launch_bounds__(kWarp* kParts)
    scan_kernel(Kind kind, Chunks chunks, Handoff handoff, const float* start, float* last) {
  FUSED_RNN_SHARED(Effect, effects, kParts * kWarp);
  FUSED_RNN_SHARED(float, befores, kWarp);
  FUSED_RNN_SHARED(int64_t, own_block, 2);  // and its chunk
  const int lane = static_cast<int>(threadIdx.x), part = static_cast<int>(threadIdx.y);
  const Rows& rows = kind.rows;
  if (lane == 0 && part == 0) {
    const bool alone = chunks.count == 1;
    own_block[0] = alone ? blockIdx.x : atomicAdd(handoff.ticket, 1u) + 1;
    own_block[1] = alone ? 0 : chunks.of_block(own_block[0]);
  }
  __syncthreads();
  const int64_t block = own_block[0], chunk = own_block[1];
  const int64_t group = block - chunks.first_block(chunk), unit = group * kWarp + lane;
  const int64_t hidden = kind.args.shape.hidden, size = rows.batch * hidden;
  const auto [n, u] = divide(unit, hidden, chunks.small);
  const int64_t begin = chunk * kChunkSteps + part * kPartSteps;
  const int64_t end = unit < size ? min(begin + kPartSteps, rows.steps) : begin;
  const Steps<Kind, kPartSteps> steps(kind, begin, end, n, u);

  Effect own{1, 0};
  const int count =
      steps.each([&](const auto& step, int64_t) { own = kind.effect(step).after(own); });
  effects[part * kWarp + lane] = own;
  __syncthreads();
  if (part == 0) {
    Effect all = own;
    for (int p = 1; p < static_cast<int>(blockDim.y); ++p) {
      all = effects[p * kWarp + lane].after(all);
    }
    float before = start != nullptr && unit < size ? start[unit] : 0.0f;
    if (chunks.count > 1) {
      const int64_t at = block * kWarp + lane;
      if (chunks.has(chunk - 1, group)) {
        handoff.publish_effect(at, all);
        before = handoff.look_back(chunks, chunk, group, lane);
      }
      publish(handoff.states + at, all.on(before));
    }
    befores[lane] = before;
  }
  __syncthreads();
  float state = befores[lane];
  for (int p = 0; p < part; ++p) state = effects[p * kWarp + lane].on(state);
  steps.each([&](const auto& step, int64_t at) { kind.write(step, at, u, state); });

  if (last == nullptr || count == 0) return;
  const int64_t next = begin + kPartSteps;
  if (next < rows.steps && rows.active(rows.step(next), n)) return;
  last[unit] = state;
}

// `shape`: the host's. start: [N, H] or null for zeros; last: [N, H], behind each sequence, or null.
template <class Kind>
void scan(const Kind& kind, const ElementwiseShape& shape, const float* start, float* last,
          CudaDevice& device) {
  Chunks chunks{nullptr, (shape.steps + kChunkSteps - 1) / kChunkSteps,
                (shape.batch * shape.hidden + kWarp - 1) / kWarp, false};
  chunks.small = small_numbers(chunks.groups * kWarp);
  const std::vector<int64_t> first = first_blocks(shape, kind.rows, chunks);
  const int64_t blocks = first.empty() ? chunks.count * chunks.groups : first.back();
  const Table table(device, first);
  chunks.first = table.data();
  // Counters and what is published are of one call, so that nothing is left to reset after an error.
  const int64_t numbers = chunks.count > 1 ? blocks * kWarp : 0;
  DeviceScratch scratch(device, numbers > 0 ? 3 * numbers + 1 : 0);
  float* const words = scratch.data();
  Handoff handoff{};
  if (numbers > 0) {
    handoff = {reinterpret_cast<uint32_t*>(words + 3 * numbers), words, words + numbers,
               words + 2 * numbers};
    check(cudaMemsetAsync(words, kEmptyByte, static_cast<size_t>(3 * numbers + 1) * sizeof(float),
                          device.stream()),
          "cudaMemset");
  }
  const int64_t parts = std::min<int64_t>((shape.steps + kPartSteps - 1) / kPartSteps, kParts);
  launch(scan_kernel<Kind>, dim3(static_cast<unsigned>(blocks)),
         dim3(kWarp, static_cast<unsigned>(parts)), 0, device.stream(), kind, chunks, handoff,
         start, last);
}

}  // namespace fused_rnn::cuda
