// The forward pass of all layers of a call in one launch. It has never run on hardware.
//
// Read persistent_forward.cu first. What is different: a launch's loops are the layers, each a step
// behind the one below. In a block of a layer above another one, warps 0 to 3 hold W_ih and
// multiply the output of the layer below, which its blocks publish as they do states, and warps 4
// to 7 hold W_hh and multiply the states. So such a layer needs no input product beforehand.
#include "cuda/rnn/experimental/experimental.h"
#include "cuda/rnn/persistent_forward.h"

namespace fused_rnn::cuda {
namespace {

struct WavefrontLayer : ForwardDirection {
  const float *w_ih = nullptr, *below = nullptr;  // [G*H, H], [rows, H]; null for the first layer
  bool feeds = false;                             // y is read by the layer above
  DropoutFactors dropout = {};                    // of y then, unless `random` is null
};

struct WavefrontForward {
  WavefrontLayer layers[kMostLayers];
  int hidden, y_ld;
  int unit_tiles, groups, row_tiles;
  bool fours;  // rows of states, outputs and weights begin at multiples of 16 bytes
};

template <class Cell, class Config>
__global__ void __launch_bounds__(kPersistentThreads, 1)
    wavefront_forward_kernel(const __grid_constant__ WavefrontForward a) {
  using Sums = WarpSums<Cell, Config>;
  FUSED_RNN_SHARED(float, shared, Sums::kFloats);
  const Sums warp_sums{shared};
  const BlockTile block(a.unit_tiles, a.groups, a.row_tiles, Config::kUnits);
  const WarpLane lane;
  const WavefrontLayer& d = a.layers[block.loop];
  const bool has_below = d.below != nullptr;

  // What this warp multiplies, and its number among the warps that share it.
  constexpr int kFirstOfStates = Config::kWarps / 2;
  const bool of_below = lane.warp < kFirstOfStates;
  WarpLane among = lane;
  if (!of_below) among.warp -= kFirstOfStates;
  const float* const states = of_below ? d.below : d.h_prev;
  // Other warps have nothing to multiply: their sums stay zeros.
  const bool multiplies = states != nullptr && among.warp * Config::kStates < a.hidden;
  ForwardWeights<Config> w;
  load_weights<Config>(of_below && multiplies ? d.w_ih : d.w_hh, a.hidden, block.first_unit,
                       a.fours, among, w);
  warp_sums.clear();

  const ForwardThread<Config> own(block, a.hidden);
  float bias[Cell::kBlocks];
  for (int b = 0; b < Cell::kBlocks; ++b) {
    bias[b] = d.bias != nullptr && own.has_unit ? d.bias[b * a.hidden + own.unit] : 0.0f;
  }

  __syncthreads();
  StepRows now = d.steps[0];
  for (int i = 0; i < d.steps.count; ++i) {
    const StepRows current = now, next = d.steps[i + 1];
    now = next;
    const int rows = block.rows_of(current), going_on = min(rows, block.rows_of(next));
    if (rows == 0) continue;
    const int tiles = (rows + kTileRows - 1) / kTileRows;
    float s[Cell::kBlocks] = {}, h = 0;
    const auto store = [&](int row) {
      if (!d.feeds) d.y[row * a.y_ld + own.unit] = h;
      if (d.gates != nullptr) store_gates<Cell>(d.gates, a.hidden, row, own.unit, s);
    };
    for (int tile = 0; tile < tiles; ++tile) {
      // (1) What the unit needs besides the states and the output below.
      const int of_group = tile * kTileRows + own.row,
                row = current.row + own.sequence + tile * kTileRows;
      const bool owns = own.has_unit && of_group < rows;
      ForwardElement<Cell> e{};
      if (owns) e = load_element<Cell>(d, a.hidden, row, own.unit, !has_below);
      float kept = 1;
      if (d.dropout.random != nullptr) kept = d.dropout.of(row * a.hidden + own.unit);

      // (2) This warp's quarter of h(t-1) W_hh^T, or of the output below times W_ih^T.
      float sums[Config::kColumnTiles][4];
      if (multiplies) {
        multiply_states<Config>(
            states +
                static_cast<int64_t>(current.row + block.first_row + tile * kTileRows) * a.hidden,
            rows - tile * kTileRows, a.hidden, a.fours, among, w, sums);
      }

      // (3) The sums of all warps.
      __syncthreads();  // the sums before have been read
      if (multiplies) warp_sums.store(lane, sums);
      __syncthreads();
      if (!owns) continue;

      // (4) The pre-activations.
      float product[Cell::kGates];
#pragma unroll
      for (int gate = 0; gate < Cell::kGates; ++gate) {
        product[gate] = 0;
#pragma unroll
        for (int warp = 0; warp < Config::kWarps; ++warp) {
          warp_sums.add(warp, gate, own.row, own.unit_of_tile,
                        (warp < kFirstOfStates ? e.x : product)[gate]);
        }
      }
      add_up<Cell>(s, bias, e.x, product, std::make_integer_sequence<int, Cell::kBlocks>{});

      // (5) The cell.
      float c = 0;
      Cell::forward(s, e.h, e.c, h, c);

      // (6) h(t) for the next step, and, behind dropout, for the layer above.
      const bool goes_on = of_group < going_on;
      const int to = (goes_on ? next.row + own.sequence : own.sequence) + tile * kTileRows;
      publish((goes_on ? d.h_prev : d.hn) + to * a.hidden + own.unit, h);
      if (d.feeds) publish(d.y + row * a.y_ld + own.unit, h * kept);
      if (Cell::kHasC) (goes_on ? d.c_prev : d.cn)[to * a.hidden + own.unit] = c;

      // (7) What nobody waits for.
      if (tile + 1 < tiles) store(row);
    }
    const int last = (tiles - 1) * kTileRows;
    if (own.has_unit && last + own.row < rows) store(current.row + own.sequence + last);
  }
}

// ---- Launches -----------------------------------------------------------------------------------

using WavefrontKernel = PersistentKernel<WavefrontForward>;

WavefrontKernel wavefront_kernel(CellKind kind, const Tiling& tiling) {
  WavefrontKernel kernel;
  with_cell(kind, [&](auto cell) {
    using Cell = decltype(cell);
    if constexpr (kPlainSteps<Cell>) {
      for_each_config<Cell>([&](size_t index, auto config) {
        using Config = decltype(config);
        if constexpr (Config::kSharedBytes == 0) {
          if (index == tiling.config) kernel = {wavefront_forward_kernel<Cell, Config>};
        }
      });
    }
  });
  return kernel;
}

}  // namespace

int max_resident_wavefront_forward(CellKind cell, const Tiling& tiling, CudaDevice& device) {
  return max_resident_blocks(wavefront_kernel(cell, tiling), device);
}

void run_wavefront(const std::vector<ForwardLoop>& layers, const std::vector<Feed>& feeds,
                   const Tiling& tiling, CudaDevice& device) {
  const RnnShape& s = layers[0].shape;
  const LaunchStream on = main_stream(device);
  // All layers have the same steps.
  const PersistentPlans plans(std::vector<ForwardLoop>{layers[0]}, device);
  WavefrontForward a{};
  a.hidden = static_cast<int>(s.hidden);
  a.y_ld = static_cast<int>(s.hidden);
  a.unit_tiles = tiling.unit_tiles;
  a.groups = tiling.groups;
  a.row_tiles = tiling.row_tiles;
  a.fours = s.hidden % 4 == 0;
  for (size_t i = 0; i < layers.size(); ++i) {
    WavefrontLayer& layer = a.layers[i];
    static_cast<ForwardDirection&>(layer) = prepare_direction(layers[i], plans.plan(0), false, on);
    a.fours = a.fours && aligned16(layer.w_hh) && aligned16(layer.h_prev);
    if (i == 0) continue;
    const Feed& feed = feeds[i];
    layer.w_ih = feed.products[0].b;
    layer.below = layers[i - 1].y;
    a.fours = a.fours && aligned16(layer.w_ih) && aligned16(layer.below);
    WavefrontLayer& below = a.layers[i - 1];
    below.feeds = true;
    if (feed.dropped != nullptr) below.dropout = DropoutFactors(feed);
    fill_empty(layers[i - 1].y, s, on);
  }
  launch_persistent(wavefront_kernel(s.cell, tiling), blocks_of(layers.size(), tiling), on.stream,
                    a);
}

}  // namespace fused_rnn::cuda
