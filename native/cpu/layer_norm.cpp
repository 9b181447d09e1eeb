// Layer normalisation of rows, as nn.LayerNorm.
#include <math.h>

#include "cpu/isa.h"
#include "cpu/reduce.h"

FUSED_RNN_KERNELS_BEGIN

namespace {

constexpr int64_t kGrain = 1 << 13;

}  // namespace

void layer_norm_forward(const LayerNormForwardArgs& args, Context& context) {
  const int64_t n = args.n;
  context.pool.parallel_for(args.rows, kGrain / (n + 1) + 1, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const float* x = args.x + r * n;
      float* y = args.y + r * n;
      const auto mean = static_cast<float>(sum_of(x, n) / static_cast<double>(n));
      const double squares = sum_over(n, [=](auto at) {
        const Vec d = at(x) - mean;
        return d * d;
      });
      const auto scale =
          static_cast<float>(1 / ::sqrt(squares / static_cast<double>(n) + double{args.eps}));
      args.mean[r] = mean;
      args.scale[r] = scale;
      const float *weight = args.weight, *bias = args.bias;
      if (weight == nullptr) {
        each_lanes(n, [=](auto at) { at(y, (at(x) - mean) * scale); });
      } else if (bias == nullptr) {
        each_lanes(n, [=](auto at) { at(y, (at(x) - mean) * scale * at(weight)); });
      } else {
        each_lanes(n, [=](auto at) { at(y, (at(x) - mean) * scale * at(weight) + at(bias)); });
      }
    }
  });
}

namespace {

void backward_row(const LayerNormBackwardArgs& args, int64_t r, float* dweight, float* dbias) {
  const int64_t n = args.n;
  const float *x = args.x + r * n, *dy = args.dy + r * n, *weight = args.weight;
  const float mean = args.mean[r], scale = args.scale[r];
  if (dweight != nullptr) {
    each_lanes(n, [=](auto at) {
      const Vec g = at(dy);
      at(dweight, at(dweight) + g * (at(x) - mean) * scale);
      at(dbias, at(dbias) + g);
    });
  }
  if (args.dx == nullptr) return;
  float* dx = args.dx + r * n;
  const auto weighted = [=](auto at) { return weight == nullptr ? at(dy) : at(dy) * at(weight); };
  const auto count = static_cast<double>(n);
  const auto sum = static_cast<float>(sum_over(n, weighted) / count);
  const auto dot = static_cast<float>(
      sum_over(n, [=](auto at) { return weighted(at) * (at(x) - mean); }) * scale / count);
  each_lanes(
      n, [=](auto at) { at(dx, (weighted(at) - sum - (at(x) - mean) * (scale * dot)) * scale); });
}

}  // namespace

// The weights' gradients are added up in parts of the rows that depend on the sizes alone.
void layer_norm_backward(const LayerNormBackwardArgs& args, Context& context) {
  const int64_t n = args.n, rows = args.rows;
  const bool weights = args.dweight != nullptr || args.dbias != nullptr;
  const int64_t most = rows < 64 * 64 ? (rows + 63) / 64 : 64, parts = most > 0 ? most : 1;
  Scratch scratch(weights ? parts * 2 * n : 0);
  const int64_t grain = kGrain / (rows / parts * n + 1) + 1;
  context.pool.parallel_for(parts, grain, [&](int64_t begin, int64_t end) {
    for (int64_t part = begin; part < end; ++part) {
      float* dweight = weights ? scratch.data() + part * 2 * n : nullptr;
      if (weights) copy_or_zero(dweight, nullptr, 2 * n);
      for (int64_t r = rows * part / parts; r < rows * (part + 1) / parts; ++r) {
        backward_row(args, r, dweight, dweight + n);
      }
    }
  });
  if (!weights) return;
  for (int64_t j = 0; j < 2 * n; ++j) {
    double sum = 0;
    for (int64_t part = 0; part < parts; ++part) sum += scratch.data()[part * 2 * n + j];
    float* out = j < n ? args.dweight : args.dbias;
    if (out != nullptr) out[j % n] = static_cast<float>(sum);
  }
}

FUSED_RNN_KERNELS_END
