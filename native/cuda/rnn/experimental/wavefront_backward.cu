// The backward pass of all layers of a call in one launch. It has never run on hardware.
//
// Read persistent_backward.cu first. What is different: a launch's loops are the layers, from the
// last one on, each a step behind the one above. In a block of a layer above another one, warps 0
// to 3 multiply the gradients by rows of W_ih instead, and leave partial sums of the gradient of
// the output below, which that layer reads in the step of the same time. Since that layer is
// behind, and leaves nothing for the one above, each of its blocks publishes a count of the steps
// whose sums it has read; who writes to a half again waits for that count.
#include "cuda/rnn/experimental/experimental.h"
#include "cuda/rnn/persistent_backward.h"

namespace fused_rnn::cuda {
namespace {

struct WavefrontLayer : BackwardDirection {
  const float* w_ih = nullptr;  // [G*H, H], of a layer above another one
  // PartialSums' memory: of the gradients of y, from the layer above, and of the y below.
  TaggedPair *from_above = nullptr, *to_below = nullptr;
  // [groups, unit tiles]: how many steps of from_above have been read; and of to_below, by the
  // layer below.
  uint32_t *read = nullptr, *read_below = nullptr;
  DropoutFactors dropout = {};  // of y, unless `random` is null
};

struct WavefrontBackward : BackwardSizes {
  WavefrontLayer layers[kMostLayers];
};

template <class Cell, class Config>
__global__ void __launch_bounds__(kPersistentThreads, 1)
    wavefront_backward_kernel(const __grid_constant__ WavefrontBackward a) {
  // The blocks of the gate matrix that are multiplied: by W_ih from kInputBlock on.
  using Gradients = GateGradients<Config, Cell::kBlocks>;
  FUSED_RNN_SHARED(uint32_t, shared, Gradients::kWords);
  const Gradients gradients{shared};
  const BlockTile block(a.unit_tiles, a.groups, a.row_tiles, Config::kUnits);
  const WarpLane lane;
  const WavefrontLayer& d = a.layers[block.loop];
  const int unit_tiles = (a.hidden + Config::kUnits - 1) / Config::kUnits;

  // What this warp multiplies by, and its number among the warps that share it.
  constexpr int kFirstOfStates = Config::kWarps / 2;
  const bool of_below = lane.warp < kFirstOfStates;
  WarpLane among = lane;
  if (!of_below) among.warp -= kFirstOfStates;
  // Other warps have nothing to multiply.
  const bool multiplies =
      !(of_below && d.w_ih == nullptr) && among.warp * Config::kStates < a.hidden;
  BackwardWeights<Config> w;
  load_weights<Config>(of_below && multiplies ? d.w_ih : d.w_hh, a.hidden, block.first_unit, among,
                       w);

  const BackwardThread<Config> own(block, lane.warp, a.hidden);
  const PartialSums<Config> partial_sums(a, block, a.unit_tiles, own);
  TaggedPair* const partials_of_lane =
      partial_sums.of_lane(of_below ? d.to_below : d.partials, among, block.unit_tile);
  // The tiles of 8 states from here on are beyond the last unit tile.
  const int column_tiles = (unit_tiles * Config::kUnits - among.warp * Config::kStates) / 8;
  // A warp waits until the layer below has read `count` steps.
  const auto wait_for_below = [&](uint32_t count) {
    for (bool all = false; !all; spin()) {
      all = true;
      for (int unit_tile = own.lane; unit_tile < unit_tiles; unit_tile += kWarp) {
        all = all && poll(d.read_below + block.group * unit_tiles + unit_tile) >= count;
      }
      all = __all_sync(0xffffffffu, all);
    }
  };

  StepRows after{0, 0}, now = d.steps[d.steps.count - 1];
  uint32_t tag = 0;  // of the partial sums that were left last; 0: none
  for (int i = d.steps.count - 1; i >= 0; --i) {
    const StepRows current = now;
    const int rows = block.rows_of(current), later_rows = block.rows_of(after);
    after = current;
    now = d.steps[i - 1];
    const bool passes_on = i > 0 || a.needs_dh0;
    const bool passes_down = d.to_below != nullptr;
    const int most = max(rows, a.needs_dh0 ? later_rows : 0);
    for (int tile = 0; tile * kTileRows < most; ++tile) {
      // (1) The activations, and what comes from outside.
      const int of_group = tile * kTileRows + own.row;
      const int row = current.row + own.sequence + tile * kTileRows;
      const int of_state = (own.sequence + tile * kTileRows) * a.hidden + own.unit;
      const bool owns = own.has_unit && of_group < rows, later = of_group < later_rows;
      BackwardElement<Cell> e{};
      if (owns) e = load_element<Cell>(d, a, row, of_state, own.unit, later);

      // (2) dh(t) through the gates of step t+1, and dy(t) from the layer above.
      const float sum =
          tile * kTileRows < later_rows ? partial_sums.sum(d.partials, tag, tile, own) : 0.0f;
      const float from_later = later ? sum : 0.0f;
      if (d.from_above != nullptr && tile * kTileRows < rows) {
        e.dy = partial_sums.sum(d.from_above, tag + 1, tile, own);
        if (d.dropout.random != nullptr) e.dy *= d.dropout.of(row * a.hidden + own.unit);
      }

      // (3) The cell.
      if (owns) {
        backward_cell<Cell>(d, of_state, from_later, e);
      } else if (own.has_unit && later && a.needs_dh0) {
        d.dh[of_state] = from_later + (Cell::kDirectH ? d.dh[of_state] : 0.0f);
      }
      const auto store = [&] { store_gates<Cell>(d.gates, a.hidden, row, own.unit, e.s); };
      if (tile * kTileRows >= rows || !(passes_on || passes_down)) {
        if (owns) store();
        continue;
      }

      // (4) The gradients of the pre-activations of the block's units.
      __syncthreads();  // the gradients before have been read
      if (threadIdx.x == 0 && d.read != nullptr && (tile + 1) * kTileRows >= rows) {
        publish(d.read + block.group * unit_tiles + block.unit_tile, tag + 1);
      }
      if (own.adder < 2) {
#pragma unroll
        for (int gate = 0; gate < Cell::kBlocks; ++gate) {
          gradients.store(own.row, own.unit_of_tile, gate,
                          with_canonical_nan(owns ? e.s[gate] : 0.0f));
        }
      }
      __syncthreads();

      // (5) Partial sums of dh(t-1), or of the gradient of the output below.
      const int next = partial_sums.next(tag, tile);
      if (multiplies && (of_below || passes_on)) {
        // The half was written two steps before.
        if (of_below && tag > 0) wait_for_below(tag - 1);
        const uint32_t* of_product =
            shared + (of_below ? Cell::kInputBlock * Config::kUnits / Config::kOfWord : 0);
        multiply_gates<Config, Gradients::kStride>(
            of_product, lane, w, [&](int columns, int row_of_tile, float x, float y) {
              if (columns >= column_tiles) return;
              publish(partials_of_lane + next + partial_sums.at(columns, row_of_tile), x, y,
                      tag + 1);
            });
      }

      // (6) What nobody waits for.
      if (owns) store();
    }
    if (rows > 0 && passes_on) tag += 1;
  }
  if (a.needs_dh0) {
    store_dh0<Cell, Config>(d, a, partial_sums, own, block.rows_of(after), tag);
  }
}

// ---- Launches -----------------------------------------------------------------------------------

using WavefrontKernel = PersistentKernel<WavefrontBackward>;

WavefrontKernel wavefront_kernel(CellKind kind, const Tiling& tiling) {
  WavefrontKernel kernel;
  with_cell(kind, [&](auto cell) {
    using Cell = decltype(cell);
    if constexpr (kPlainSteps<Cell>) {
      for_each_config<Cell>([&](size_t index, auto config) {
        using Config = decltype(config);
        if constexpr (Config::kSharedBytes == 0) {
          if (index == tiling.config) kernel = {wavefront_backward_kernel<Cell, Config>};
        }
      });
    }
  });
  return kernel;
}

}  // namespace

int max_resident_wavefront_backward(CellKind cell, const Tiling& tiling, CudaDevice& device) {
  return max_resident_blocks(wavefront_kernel(cell, tiling), device);
}

void run_wavefront(const std::vector<BackwardLoop>& layers, const std::vector<Feed>& feeds,
                   const Tiling& tiling, CudaDevice& device) {
  // All layers have the same steps.
  const PersistentPlans plans(std::vector<BackwardLoop>{layers[0]}, device);
  const PartialsMemory partials(tiling, layers.size(), device);
  const PartialsMemory between(tiling, layers.size() - 1, device);
  const int64_t blocks = int64_t{tiling.groups} * tiling.unit_tiles;
  const DeviceScratch read(device, blocks * static_cast<int64_t>(layers.size()));
  check(cudaMemsetAsync(read.data(), 0,
                        static_cast<size_t>(blocks) * layers.size() * sizeof(uint32_t),
                        device.stream()),
        "cudaMemsetAsync");
  WavefrontBackward a{sizes_of(layers[0], tiling), {}};
  for (size_t i = 0; i < layers.size(); ++i) {
    WavefrontLayer& layer = a.layers[i];
    static_cast<BackwardDirection&>(layer) =
        direction_of(layers[i], plans.plan(0), false, partials.of(i));
    if (i == 0) continue;
    const Feed& feed = feeds[i];
    WavefrontLayer& above = a.layers[i - 1];
    above.w_ih = feed.products[0].b;
    layer.from_above = above.to_below = between.of(i - 1);
    layer.read = above.read_below =
        reinterpret_cast<uint32_t*>(read.data()) + blocks * static_cast<int64_t>(i);
    if (feed.dropped != nullptr) layer.dropout = DropoutFactors(feed);
    layer.dy = nullptr;
  }
  launch_persistent(wavefront_kernel(layers[0].shape.cell, tiling),
                    blocks_of(layers.size(), tiling), device.stream(), a);
}

}  // namespace fused_rnn::cuda
