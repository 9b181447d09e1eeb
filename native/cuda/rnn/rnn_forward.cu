// The forward pass of recurrent layers over whole sequences.
//
// For each layer:
// (1) one product W_ih x for all rows, with dropout before it above the first layer; where x is
//     one-hot, a row of W_ih^T is looked up within the steps instead;
// (2) the time loop: steps_forward.cu, or persistent_forward.cu.
// schedule.cpp decides how the loops are run.
#include <memory>

#include "cuda/ops.h"
#include "cuda/rnn/step_kernels.h"

namespace fused_rnn::cuda {
namespace {

// With many rows most columns of W_ih are wanted, and a transposed copy of all is faster.
bool worth_a_table(int64_t rows, int64_t classes) { return rows * 4 >= classes && rows >= 32; }

// What one direction of a layer needs besides its tensors.
template <class Cell>
class ForwardWeights {
 public:
  ForwardWeights(const RnnShape& s, const RnnWeights& w, const RnnInput& x, int64_t inputs,
                 float* gates, CudaDevice& device)
      : bias_(device, s.bias ? Cell::kBlocks * s.hidden : 0),
        product_(device, s.batch * Cell::kGates * s.hidden),
        table_(device, x.index != nullptr && worth_a_table(s.rows, inputs)
                           ? inputs * Cell::kGates * s.hidden
                           : 0) {
    const int64_t h = s.hidden, n = Cell::kGates * h, width = Cell::kBlocks * h;
    if (s.bias) block_biases<Cell>(device, s, w, bias_.data());
    if (table_.data() != nullptr) {
      transpose(device, w.w_ih, n, inputs, inputs, table_.data());
      input = {table_.data(), n, 1, x.index, inputs};
    } else if (x.index != nullptr) {
      input = {w.w_ih, 1, inputs, x.index, inputs};
    } else {
      float* to = gates + Cell::kInputBlock * h;
      input = {to, width, 1, nullptr, 0};
      product_of_input = {.trans_b = true,
                          .m = s.rows,
                          .n = n,
                          .k = inputs,
                          .a = x.values,
                          .lda = inputs,
                          .b = w.w_ih,
                          .ldb = inputs,
                          .c = to,
                          .ldc = width};
    }
  }

  const float* bias() const { return bias_.data(); }
  float* product() const { return product_.data(); }
  StepInput input;
  Product product_of_input{};  // still to be computed, unless x is looked up

 private:
  DeviceScratch bias_, product_, table_;
};

// Layers that run side by side need memory for every layer, also where no gradient is wanted: up to
// this many floats.
constexpr int64_t kMostUnkept = int64_t{1} << 26;

template <class Cell>
void forward(const RnnForwardArgs& args, Context& context) {
  CudaDevice& device = device_of(context);
  const RnnShape& s = args.shape;
  const int64_t p = s.out();
  const bool keep = args.workspace != nullptr;
  const bool overlap = layers_overlap(s, Pass::forward, device) &&
                       (keep || RnnWorkspace(Cell{}, s).floats() <= kMostUnkept);
  // Without a workspace to keep, and layer by layer, all layers use the memory of one in turn.
  RnnShape one_layer = s;
  one_layer.layers = 1;
  const RnnShape& kept = keep || overlap ? s : one_layer;
  DeviceScratch unkept(device, keep ? 0 : RnnWorkspace(Cell{}, kept).floats());
  const RnnWorkspace workspace(Cell{}, kept, keep ? args.workspace : unkept.data());
  // The outputs below the last layer's then take turns in two arrays: one is read, one written.
  const bool in_turn = kept.layers < s.layers;
  DeviceScratch even_output(device, in_turn ? workspace.layer_output_floats() : 0);
  DeviceScratch odd_output(device, in_turn ? workspace.layer_output_floats() : 0);
  const RandomState random(device, s, args.dropout);

  std::vector<StepPlan> plans;
  for (int64_t d = 0; d < s.directions; ++d) plans.emplace_back(s, d == 1);
  std::vector<std::unique_ptr<ForwardWeights<Cell>>> weights;
  std::vector<ForwardLoop> loops;
  std::vector<Feed> feeds;
  RnnInput x = args.x;
  float* below = nullptr;  // the output of the layer below; dropout changes it in place
  for (int64_t layer = 0; layer < s.layers; ++layer) {
    float* y = layer + 1 == s.layers ? args.y
               : !in_turn            ? workspace.layer_output(layer)
               : layer % 2 == 0      ? even_output.data()
                                     : odd_output.data();
    if (!overlap) {
      loops.clear();
      weights.clear();
    }
    Feed feed{.products = {},
              .count = 0,
              .dropped = random.data() != nullptr ? below : nullptr,
              .width = s.directions * p,
              .backward = false,
              .p = args.dropout.p,
              .layer = layer - 1,
              .random = random.data()};
    for (int64_t d = 0; d < s.directions; ++d) {
      const int64_t stack = layer * s.directions + d;
      const RnnWeights& w = args.weights[stack];
      const StackSaved saved = workspace.stack(kept.layers > 1 ? layer : 0, d);
      weights.push_back(std::make_unique<ForwardWeights<Cell>>(s, w, x, s.layer_input(layer),
                                                               saved.gates, device));
      const ForwardWeights<Cell>& made = *weights.back();
      if (x.index == nullptr) feed.products[feed.count++] = made.product_of_input;
      loops.push_back(
          {.shape = s,
           .plan = plans[static_cast<size_t>(d)],
           .name = w.w_hh,
           .w_hh = w.w_hh,
           .w_hr = w.w_hr,
           .bias = made.bias(),
           .input = made.input,
           .saved = saved,
           .keep = keep,
           .h0 = args.h0 ? args.h0 + stack * s.batch * p : nullptr,
           .c0 = args.c0 ? args.c0 + stack * s.batch * Cell::kStates * s.hidden : nullptr,
           .y = y + d * p,
           .hn = args.hn + stack * s.batch * p,
           .cn = Cell::kHasC ? args.cn + stack * s.batch * Cell::kStates * s.hidden : nullptr,
           .product = made.product(),
           .norms = {.g_hh = w.g_hh, .g_ih = w.g_ih, .g_c = w.g_c, .b_c = w.b_c},
           .unit_weights = unit_weights(w),
           .options = args.options.of(s, stack)});
    }
    if (!overlap || layer == 0) queue_feed(feed, 0, s.rows, main_stream(device));
    feeds.push_back(feed);
    if (!overlap) run_layer_loop(loops, context);
    x = {y, nullptr};
    below = y;
  }
  if (overlap) run_layers(loops, feeds, context);
}

}  // namespace

void rnn_forward(const RnnForwardArgs& args, Context& context) {
  if (args.shape.rows == 0) return;
  with_cell(args.shape.cell, [&](auto cell) { forward<decltype(cell)>(args, context); });
}

}  // namespace fused_rnn::cuda
