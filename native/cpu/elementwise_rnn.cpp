// Recurrent layers without a recurrent matrix: the loop over time alone, and together with the
// input's product.
#include <optional>

#include "cells/elementwise.h"
#include "cpu/elementwise_loop.h"
#include "cpu/elementwise_product.h"
#include "cpu/elementwise_scan.h"
#include "cpu/elementwise_walk.h"
#include "cpu/gemm.h"
#include "ops/ops_elementwise_layer.h"

FUSED_RNN_KERNELS_BEGIN

namespace {

template <class Cell, bool activated>
struct PassesOf {
  using Forward = LoopForward<Cell, activated>;
  using Backward = LoopBackward<Cell, activated>;
};
template <class Cell, bool activated>
  requires Cell::kLinear
struct PassesOf<Cell, activated> {
  using Forward = ScanForward<Cell, activated>;
  using Backward = ScanBackward<Cell, activated>;
};

// f(begin, end) for the steps [begin, end), at most so many rows at once.
template <class F>
void each_stretch(const Walk& walk, int64_t begin, int64_t end, int64_t rows, F f) {
  for (int64_t at = begin, stop; at < end; at = stop) {
    stop = walk.stop(at, rows);
    f(at, stop);
  }
}

// The same as a pass takes them.
template <class Pass, class F>
void run_steps(const Pass& pass, int64_t begin, int64_t end, int64_t rows, F run) {
  if (pass.at_once()) return run(begin, end);
  each_stretch(pass.walk, begin, end, rows, run);
}

template <class Cell>
void forward(const ElementwiseForwardArgs& args, Context& context) {
  typename PassesOf<Cell, false>::Forward pass(args, context);
  const Rows<const float> rows{args.in.a, 0, args.shape.hidden * Cell::kBlocks};
  run_steps(pass, 0, args.shape.steps, INT64_MAX,
            [&](int64_t begin, int64_t end) { pass.run(begin, end, rows); });
}

template <class Cell>
void backward(const ElementwiseBackwardArgs& args, Context& context) {
  typename PassesOf<Cell, false>::Backward pass(args, context);
  const int64_t width = args.shape.hidden * Cell::kBlocks;
  const Rows<const float> rows{args.in.a, 0, width};
  const Rows<float> gradients{args.da, 0, width};
  run_steps(pass, 0, args.shape.steps, INT64_MAX,
            [&](int64_t begin, int64_t end) { pass.run(begin, end, rows, gradients); });
  pass.finish();
}

// ---- With the product --------------------------------------------------------------------------

// Rows that go through product and loop together. Fixed, since dw is a sum over stretches of them, and
// so that a product's tiles are the same ones on any number of threads.
constexpr int64_t kStretch = 256;

// Of few rows packing costs more than the product, and rounded factors are packed in a way of their
// own.
bool unpacked(const ElementwiseProduct& product, const ElementwiseShape& shape) {
  return product.bf16 || shape.rows <= kFewRows;
}

// The most rows of a stretch.
int64_t most_rows(const ElementwiseShape& shape) {
  const int64_t most = kStretch > shape.batch ? kStretch : shape.batch;
  return most < shape.rows ? most : shape.rows;
}

// f(begin, end) for the steps whose product and loop are one after the other.
template <class Pass, class F>
void each_part(const Pass& pass, bool all, F f) {
  const int64_t steps = pass.walk.shape.steps;
  if (all) return f(0, steps);
  run_steps(pass, 0, steps, kStretch, f);
}

// f(first, count): the rows of a part's stretches.
template <class F>
void each_stretch_of_rows(const Walk& walk, int64_t begin, int64_t end, F f) {
  each_stretch(walk, begin, end, kStretch, [&](int64_t from, int64_t to) {
    const auto [first, last] = walk.rows(from, to);
    f(first, last - first);
  });
}

// What is kept for backward is what Cell::activate() makes of the pre-activations.
template <class Cell, bool activated>
void layer_forward(const ElementwiseLayerForwardArgs& args, Context& context) {
  const ElementwiseShape& shape = args.loop.shape;
  const ElementwiseProduct& p = args.product;
  const int64_t width = shape.hidden * Cell::kBlocks;
  typename PassesOf<Cell, activated>::Forward pass(args.loop, context);
  const bool all = unpacked(p, shape);
  const Scratch scratch(
      args.a != nullptr ? 0 : (all || pass.at_once() ? shape.rows : most_rows(shape)) * width);
  std::optional<PackedMatrix> w;
  if (!all) w.emplace(Trans::yes, p.w, p.inputs, p.inputs, width, kStretch, context);
  each_part(pass, all, [&](int64_t begin, int64_t end) {
    const auto [low, high] = pass.walk.rows(begin, end);
    float* const a = args.a != nullptr ? args.a + low * width : scratch.data();
    const Rows<float> product{a, low, width};
    const Rows<PreActivation<activated>> rows{a, low, width};
    if (all) {
      gemm({.trans_b = Trans::yes,
            .m = high - low,
            .n = width,
            .k = p.inputs,
            .a = p.x + low * p.inputs,
            .lda = p.inputs,
            .b = p.w,
            .ldb = p.inputs,
            .c = a,
            .ldc = width,
            .start = p.bias,
            .bf16 = p.bf16},
           context);
    } else {
      each_stretch_of_rows(pass.walk, begin, end, [&](int64_t first, int64_t count) {
        w->multiply(count, p.x + first * p.inputs, p.inputs, product.of(first), width, p.bias, 0,
                    context);
      });
    }
    run_steps(pass, begin, end, kStretch,
              [&](int64_t from, int64_t to) { pass.run(from, to, rows); });
  });
}

template <class Cell>
void layer_backward(const ElementwiseLayerBackwardArgs& args, Context& context) {
  const ElementwiseShape& shape = args.loop.shape;
  const ElementwiseProduct& p = args.product;
  const int64_t width = shape.hidden * Cell::kBlocks;
  const bool all = unpacked(p, shape);
  typename PassesOf<Cell, Cell::kActivates>::Backward pass(args.loop, context);
  // An odd number of cache lines, so that a column's are not all in one set.
  const int64_t ld = round_up(width, 32) + 16;
  const Scratch scratch((all || pass.at_once() ? shape.rows : most_rows(shape)) * ld);
  std::optional<PackedMatrix> w;
  if (!all && args.dx != nullptr) {
    w.emplace(Trans::no, p.w, p.inputs, width, p.inputs, kStretch, context);
  }
  std::optional<WeightProduct> dw;
  if (!all && args.dw != nullptr) dw.emplace(args.dw, width, p.inputs, most_rows(shape));
  std::optional<ColumnSums> dbias;
  if (args.dbias != nullptr) dbias.emplace(args.dbias, width);
  each_part(pass, all, [&](int64_t begin, int64_t end) {
    const auto [low, high] = pass.walk.rows(begin, end);
    const Rows<const float> rows{args.loop.in.a, 0, width};
    const Rows<float> gradients{scratch.data(), low, ld};
    run_steps(pass, begin, end, kStretch,
              [&](int64_t from, int64_t to) { pass.run(from, to, rows, gradients); });
    // What the loop has left in dx is the way past the product.
    const auto past = [&](int64_t row) { return Cell::kSkip ? args.dx + row * p.inputs : nullptr; };
    if (all && args.dx != nullptr) {
      gemm({.m = high - low,
            .n = p.inputs,
            .k = width,
            .a = gradients.data,
            .lda = ld,
            .b = p.w,
            .ldb = p.inputs,
            .c = args.dx + low * p.inputs,
            .ldc = p.inputs,
            .start = past(low),
            .start_ld = p.inputs,
            .bf16 = p.bf16},
           context);
    }
    if (all && args.dw != nullptr) {
      gemm({.trans_a = Trans::yes,
            .m = width,
            .n = p.inputs,
            .k = high - low,
            .a = gradients.data,
            .lda = ld,
            .b = p.x + low * p.inputs,
            .ldb = p.inputs,
            .c = args.dw,
            .ldc = p.inputs,
            .bf16 = p.bf16},
           context);
    }
    each_stretch_of_rows(pass.walk, begin, end, [&](int64_t first, int64_t count) {
      const float* const da = gradients.of(first);
      if (w) {
        w->multiply(count, da, ld, args.dx + first * p.inputs, p.inputs, past(first), p.inputs,
                    context);
      }
      if (dw) dw->add(da, ld, p.x + first * p.inputs, count, context);
      if (dbias) dbias->add(da, ld, count, context);
    });
  });
  if (dbias) dbias->finish();
  pass.finish();
}

void any_layer_forward(const ElementwiseLayerForwardArgs& args, Context& context) {
  with_cell(args.loop.shape.kind, [&](auto cell) {
    using Cell = decltype(cell);
    if (args.a == nullptr) return layer_forward<Cell, false>(args, context);
    layer_forward<Cell, Cell::kActivates>(args, context);
  });
}

void any_layer_backward(const ElementwiseLayerBackwardArgs& args, Context& context) {
  with_cell(args.loop.shape.kind,
            [&](auto cell) { layer_backward<decltype(cell)>(args, context); });
}

}  // namespace

void elementwise_forward(const ElementwiseForwardArgs& args, Context& context) {
  with_cell(args.shape.kind, [&](auto cell) { forward<decltype(cell)>(args, context); });
}

void elementwise_backward(const ElementwiseBackwardArgs& args, Context& context) {
  with_cell(args.shape.kind, [&](auto cell) { backward<decltype(cell)>(args, context); });
}

extern const ElementwiseLayerKernels elementwise_layer;
const ElementwiseLayerKernels elementwise_layer = {&any_layer_forward, &any_layer_backward};

FUSED_RNN_KERNELS_END
