// The backward pass of recurrent layers over whole sequences, through time.
//
// For each layer, from the last:
// (1) the time loop in reverse: steps_backward.cu, or persistent_backward.cu;
// (2) the gradients of the weights, the biases and the layer's input, each as one product (or
//     column sum) over all rows. Those of the weights run beside the time loop of the layer below.
// schedule.cpp decides how the loops are run.
#include <memory>

#include "cuda/ops.h"
#include "cuda/reduce.h"
#include "cuda/rnn/step_kernels.h"

namespace fused_rnn::cuda {
namespace {

// W_hh with its gates in the order of the gate matrix's blocks.
template <class Cell>
class HiddenWeights {
 public:
  HiddenWeights(const RnnShape& s, const RnnWeights& w, CudaDevice& device)
      : w_hh_(w.w_hh), ordered_(device, kInOrder ? 0 : Cell::kGates * s.hidden * s.out()) {
    if (kInOrder) return;
    const int64_t gate = s.hidden * s.out();
    for (const HiddenRun& run : Cell::kHiddenRuns) {
      const int64_t n = run.count * gate;
      each(device, n,
           CopyColumns{.to = ordered_.data() + run.block * gate,
                       .from = w.w_hh + run.gate * gate,
                       .from_ld = n,
                       .width = n,
                       .small = small_numbers(n)});
    }
  }
  const float* data() const { return kInOrder ? w_hh_ : ordered_.data(); }

 private:
  static constexpr bool kInOrder = std::size(Cell::kHiddenRuns) == 1;
  const float* w_hh_;
  DeviceScratch ordered_;
};

// The products that give weights' gradients, on a side stream, which the caller has forked.
constexpr int kProductsSide = 1;

template <class Cell>
void weight_products(CudaDevice& device, const RnnShape& s, const RnnWeightGrads& g,
                     const StackSaved& saved, const RnnInput& x, int64_t inputs,
                     const float* dh_total) {
  const int64_t h = s.hidden, p = s.out(), width = Cell::kBlocks * h;
  // dw[m, n] = a[rows, m]^T b[rows, n]
  const auto product = [&](int64_t m, int64_t n, const float* a, int64_t lda, const float* b,
                           float* dw) {
    device.blas(kProductsSide)
        .multiply({.trans_a = true,
                   .m = m,
                   .n = n,
                   .k = s.rows,
                   .a = a,
                   .lda = lda,
                   .b = b,
                   .ldb = n,
                   .c = dw,
                   .ldc = n},
                  device.precision.rnn, device.side_stream(kProductsSide));
  };
  if (g.dw_ih != nullptr && x.index == nullptr) {
    product(Cell::kGates * h, inputs, saved.gates + Cell::kInputBlock * h, width, x.values,
            g.dw_ih);
  }
  if (g.dw_hh != nullptr) {
    each_run<Cell>([&](const HiddenRun& run, bool reset) {
      product(run.count * h, p, saved.gates + run.block * h, width,
              reset ? saved.reset_h : saved.h_in, g.dw_hh + run.gate * h * p);
    });
  }
  if (g.dw_hr != nullptr) product(p, h, dh_total, p, saved.u, g.dw_hr);
}

// dw_ih of one-hot rows: the gradients of the rows with the same index, added up.
template <class Cell>
void one_hot_gradient(const RnnShape& s, float* dw_ih, const StackSaved& saved,
                      const int32_t* index, int64_t inputs, Context& context) {
  CudaDevice& device = device_of(context);
  const int64_t n = Cell::kGates * s.hidden;
  const float* rows = saved.gates;
  DeviceScratch together(device, Cell::kGates < Cell::kBlocks ? s.rows * n : 0);
  if (together.data() != nullptr) {
    each(device, s.rows * n,
         CopyColumns{.to = together.data(),
                     .from = saved.gates + Cell::kInputBlock * s.hidden,
                     .from_ld = Cell::kBlocks * s.hidden,
                     .width = n,
                     .small = small_numbers(s.rows * n)});
    rows = together.data();
  }
  DeviceScratch table(device, inputs * n);
  scatter_add_rows({.dy = rows,
                    .index = index,
                    .dx = table.data(),
                    .outer = 1,
                    .rows = inputs,
                    .width = n,
                    .n = s.rows,
                    .skip = -1},
                   context);
  transpose(device, table.data(), inputs, n, n, dw_ih);
}

template <class Cell>
void bias_gradients(CudaDevice& device, const RnnShape& s, const RnnWeightGrads& g,
                    const StackSaved& saved) {
  if (g.db_ih == nullptr && g.db_hh == nullptr) return;
  const int64_t h = s.hidden, width = Cell::kBlocks * h;
  DeviceScratch sums(device, width);
  column_sum(device, saved.gates, 1, s.rows, width, width, 1, sums.data());
  const auto copy = [&](float* to, int64_t block, int64_t count) {
    const int64_t n = count * h;
    each(device, n, CopyColumns{to, sums.data() + block * h, n, n, small_numbers(n)});
  };
  if (g.db_ih != nullptr) copy(g.db_ih, Cell::kInputBlock, Cell::kGates);
  if (g.db_hh == nullptr) return;
  each_run<Cell>(
      [&](const HiddenRun& run, bool) { copy(g.db_hh + run.gate * h, run.block, run.count); });
}

// The gradients of gains and shifts, which the loop has added up for each sequence.
void norm_gradients(CudaDevice& device, const RnnShape& s, const RnnWeightGrads& g, int64_t gates,
                    const float* sequences) {
  const int64_t h = s.hidden, width = norm_grads(static_cast<int>(gates)) * h;
  DeviceScratch sums(device, width);
  column_sum(device, sequences, 1, s.batch, width, width, 1, sums.data());
  const auto copy = [&](float* to, int64_t block, int64_t n) {
    if (to == nullptr) return;
    each(device, n, CopyColumns{to, sums.data() + block * h, n, n, small_numbers(n)});
  };
  copy(g.db_hh, 0, gates * h);
  copy(g.db_ih, 0, gates * h);
  copy(g.dg_hh, gates, gates * h);
  copy(g.dg_ih, 2 * gates, gates * h);
  copy(g.db_c, 3 * gates, h);
  copy(g.dg_c, 3 * gates + 1, h);
}

// sequences: [N, kUnitWeights, H], what the loop has added up for each.
template <class Cell>
void unit_gradients(CudaDevice& device, const RnnShape& s, const UnitWeightGrads& grads,
                    const float* sequences) {
  const int64_t h = s.hidden;
  for (int k = 0; k < Cell::kUnitWeights; ++k) {
    if (grads.of[k] == nullptr) continue;
    column_sum(device, sequences + k * h, 1, s.batch, h, Cell::kUnitWeights * h, 1, grads.of[k]);
  }
}

// What a layer's gradients need besides its tensors.
template <class Cell>
struct BackwardMemory {
  BackwardMemory(const RnnShape& s, const RnnWeights& w, bool dh0, bool dc0, CudaDevice& device)
      : w_hh(s, w, device),
        // The gradients of the states end where the caller wants them.
        dh(device, dh0 ? 0 : s.batch * s.out()),
        dc(device, Cell::kHasC && !dc0 ? s.batch * Cell::kStates * s.hidden : 0),
        du(device, s.proj > 0 || Cell::kResetBefore ? s.batch * s.hidden : 0),
        dh_total(device, s.proj > 0 ? s.rows * s.out() : 0),
        product(device, s.options ? s.batch * s.out() : 0),
        norm_bias(device, kNorms && s.bias ? Cell::kBlocks * s.hidden : 0),
        norm_scratch(device, kNorms ? s.batch * (Cell::kGates + 1) * s.hidden : 0),
        norm_sums(device, kNorms ? s.batch * norm_grads(Cell::kGates) * s.hidden : 0),
        unit_sums(device, s.batch * Cell::kUnitWeights * s.hidden) {
    if (norm_bias.data() != nullptr) block_biases<Cell>(device, s, w, norm_bias.data());
  }
  static constexpr bool kNorms = Cell::kNorms;
  HiddenWeights<Cell> w_hh;
  DeviceScratch dh, dc, du, dh_total, product;
  DeviceScratch norm_bias, norm_scratch, norm_sums, unit_sums;
};

template <class Cell>
class Backward {
 public:
  Backward(const RnnBackwardArgs& args, Context& context)
      : args_(args),
        s_(args.shape),
        context_(context),
        device_(device_of(context)),
        workspace_(Cell{}, s_, args.workspace),
        between_(device_, s_.layers > 1 ? workspace_.layer_output_floats() : 0),
        random_(device_, s_, args.dropout) {
    for (int64_t d = 0; d < s_.directions; ++d) plans_.emplace_back(s_, d == 1);
  }

  void run() {
    if (layers_overlap(s_, Pass::backward, device_)) {
      for (int64_t layer = s_.layers - 1; layer >= 0; --layer) add_loops(layer);
      run_layers(loops_, feeds_, context_);
      for (int64_t layer = s_.layers - 1; layer >= 0; --layer) {
        weight_gradients(layer, &loops_[static_cast<size_t>(s_.layers - 1 - layer)]);
      }
    } else {
      for (int64_t layer = s_.layers - 1; layer >= 0; --layer) {
        loops_.clear();
        // The side stream may still read the last layer's when there is a projection.
        if (s_.proj > 0) products_.join();
        memory_.clear();
        add_loops(layer);
        if (layer + 1 < s_.layers) queue_feed(feeds_.back(), 0, s_.rows, main_stream(device_));
        run_layer_loop(loops_, context_);
        weight_gradients(layer, loops_.data());
      }
    }
    if (args_.dx != nullptr) input_gradient();
    products_.join();
  }

 private:
  // A layer's loops, and what feeds them from the layer above.
  void add_loops(int64_t layer) {
    const int64_t h = s_.hidden, p = s_.out(), width = s_.directions * p;
    const bool last = layer + 1 == s_.layers;
    const float* dy = last ? args_.dy : between_.data();
    Feed feed{.products = {},
              .count = 0,
              .dropped = !last && random_.data() != nullptr ? between_.data() : nullptr,
              .width = width,
              .backward = true,
              .p = args_.dropout.p,
              .layer = layer,
              .random = random_.data()};
    for (int64_t d = 0; d < s_.directions; ++d) {
      const int64_t stack = layer * s_.directions + d;
      const RnnWeights& w = args_.weights[stack];
      if (!last) feed.products[feed.count++] = dx_product(layer + 1, d, between_.data());
      memory_.push_back(std::make_unique<BackwardMemory<Cell>>(s_, w, args_.dh0 != nullptr,
                                                               args_.dc0 != nullptr, device_));
      const BackwardMemory<Cell>& memory = *memory_.back();
      loops_.push_back(
          {.shape = s_,
           .plan = plans_[static_cast<size_t>(d)],
           .name = w.w_hh,
           .w_hh = memory.w_hh.data(),
           .w_hr = w.w_hr,
           .saved = workspace_.stack(layer, d),
           .dy = dy ? dy + d * p : nullptr,
           .dhn = args_.dhn ? args_.dhn + stack * s_.batch * p : nullptr,
           .dcn = args_.dcn ? args_.dcn + stack * s_.batch * Cell::kStates * h : nullptr,
           .dh = args_.dh0 ? args_.dh0 + stack * s_.batch * p : memory.dh.data(),
           .dc = Cell::kHasC && args_.dc0 ? args_.dc0 + stack * s_.batch * Cell::kStates * h
                                          : memory.dc.data(),
           .dh_total = memory.dh_total.data(),
           .du = memory.du.data(),
           .needs_dh0 = args_.dh0 != nullptr,
           .norms = {.g_hh = w.g_hh,
                     .g_ih = w.g_ih,
                     .g_c = w.g_c,
                     .b_c = w.b_c,
                     .bias = memory.norm_bias.data(),
                     .scratch = memory.norm_scratch.data(),
                     .grads = memory.norm_sums.data()},
           .unit_weights = unit_weights(w),
           .unit_sums = memory.unit_sums.data(),
           .options = args_.options.of(s_, stack),
           .product = memory.product.data()});
    }
    feeds_.push_back(feed);
  }

  // dx = the sum over the directions d of dgates W_ih: the part of one.
  Product dx_product(int64_t layer, int64_t d, float* dx) const {
    const int64_t inputs = s_.layer_input(layer);
    return {.m = s_.rows,
            .n = inputs,
            .k = Cell::kGates * s_.hidden,
            .a = workspace_.stack(layer, d).gates + Cell::kInputBlock * s_.hidden,
            .lda = Cell::kBlocks * s_.hidden,
            .b = args_.weights[layer * s_.directions + d].w_ih,
            .ldb = inputs,
            .c = dx,
            .ldc = inputs,
            .beta = d == 0 ? 0.0f : 1.0f};
  }
  void input_gradient() const {
    for (int64_t d = 0; d < s_.directions; ++d) {
      device_.multiply(dx_product(0, d, args_.dx), device_.precision.rnn);
    }
  }

  void weight_gradients(int64_t layer, const BackwardLoop* loops) {
    const int64_t inputs = s_.layer_input(layer);
    const RnnInput x = layer == 0 ? args_.x : RnnInput{workspace_.layer_output(layer - 1), nullptr};
    for (int64_t d = 0; d < s_.directions; ++d) {
      const RnnWeightGrads& g = args_.grads[layer * s_.directions + d];
      const StackSaved& saved = loops[d].saved;
      products_.fork();
      weight_products<Cell>(device_, s_, g, saved, x, inputs, loops[d].dh_total);
      if constexpr (Cell::kNorms) {
        norm_gradients(device_, s_, g, Cell::kGates, loops[d].norms.grads);
      } else {
        bias_gradients<Cell>(device_, s_, g, saved);
      }
      unit_gradients<Cell>(device_, s_, unit_weight_grads(g), loops[d].unit_sums);
      if (g.dw_ih != nullptr && x.index != nullptr) {
        one_hot_gradient<Cell>(s_, g.dw_ih, saved, x.index, inputs, context_);
      }
    }
  }

  const RnnBackwardArgs& args_;
  const RnnShape& s_;
  Context& context_;
  CudaDevice& device_;
  RnnWorkspace workspace_;
  DeviceScratch between_;  // the gradient of the output of the layer that is being worked on
  RandomState random_;
  std::vector<StepPlan> plans_;
  std::vector<std::unique_ptr<BackwardMemory<Cell>>> memory_;
  std::vector<BackwardLoop> loops_;
  std::vector<Feed> feeds_;
  SideWork products_{device_, kProductsSide};  // the last: it is joined before the rest is freed
};

// For inputs without any row.
void zero_gradients(const RnnBackwardArgs& args, int64_t gates, CudaDevice& device) {
  const RnnShape& s = args.shape;
  const auto zero = [&](float* to, int64_t n) {
    if (to == nullptr) return;
    check(cudaMemsetAsync(to, 0, static_cast<size_t>(n) * sizeof(float), device.stream()),
          "cudaMemsetAsync");
  };
  for (int64_t stack = 0; stack < s.layers * s.directions; ++stack) {
    const RnnWeightGrads& g = args.grads[stack];
    const int64_t n = gates * s.hidden;
    zero(g.dw_ih, n * s.layer_input(stack / s.directions));
    zero(g.dw_hh, n * s.out());
    zero(g.db_ih, n);
    zero(g.db_hh, n);
    zero(g.dw_hr, s.proj * s.hidden);
    zero(g.dg_ih, n);
    zero(g.dg_hh, n);
    zero(g.dg_c, s.hidden);
    zero(g.db_c, s.hidden);
    for (float* unit_weights : unit_weight_grads(g).of) zero(unit_weights, s.hidden);
  }
}

}  // namespace

void rnn_backward(const RnnBackwardArgs& args, Context& context) {
  with_cell(args.shape.cell, [&](auto cell) {
    using Cell = decltype(cell);
    if (args.shape.rows == 0) return zero_gradients(args, Cell::kGates, device_of(context));
    Backward<Cell>(args, context).run();
  });
}

}  // namespace fused_rnn::cuda
