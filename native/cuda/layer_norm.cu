// Layer normalisation of rows, as nn.LayerNorm: a group of threads (reduce.h) for each row.
#include "cuda/elements.h"
#include "cuda/ops.h"
#include "cuda/reduce.h"

namespace fused_rnn::cuda {
namespace {

template <class Group>
__global__ void __launch_bounds__(kBlock) forward_kernel(LayerNormForwardArgs args) {
  FUSED_RNN_SHARED(double, scratch, kWarp);
  const auto count = static_cast<double>(args.n);
  for (int64_t r = Group::first_row(); r < args.rows; r += Group::step()) {
    const float* x = args.x + r * args.n;
    float* y = args.y + r * args.n;
    double sum = 0;
    for (int64_t i = Group::rank(); i < args.n; i += Group::kThreads) sum += x[i];
    const auto mean = static_cast<float>(Group::sum(sum, scratch) / count);
    double squares = 0;
    for (int64_t i = Group::rank(); i < args.n; i += Group::kThreads) {
      const float d = x[i] - mean;
      squares += d * d;
    }
    squares = Group::sum(squares, scratch);
    const auto scale = static_cast<float>(1 / ::sqrt(squares / count + double{args.eps}));
    if (Group::rank() == 0) {
      args.mean[r] = mean;
      args.scale[r] = scale;
    }
    for (int64_t i = Group::rank(); i < args.n; i += Group::kThreads) {
      const float value = (x[i] - mean) * scale * (args.weight != nullptr ? args.weight[i] : 1);
      y[i] = args.bias != nullptr ? value + args.bias[i] : value;
    }
  }
}

template <class Group>
__global__ void __launch_bounds__(kBlock) backward_kernel(LayerNormBackwardArgs args) {
  FUSED_RNN_SHARED(double, scratch, kWarp);
  for (int64_t r = Group::first_row(); r < args.rows; r += Group::step()) {
    const float *x = args.x + r * args.n, *dy = args.dy + r * args.n;
    float* dx = args.dx + r * args.n;
    const float mean = args.mean[r], scale = args.scale[r];
    const auto weighted = [&](int64_t i) {
      return args.weight != nullptr ? dy[i] * args.weight[i] : dy[i];
    };
    double total = 0, product = 0;
    for (int64_t i = Group::rank(); i < args.n; i += Group::kThreads) {
      total += weighted(i);
      product += weighted(i) * (x[i] - mean);
    }
    const auto count = static_cast<double>(args.n);
    const auto sum = static_cast<float>(Group::sum(total, scratch) / count);
    const auto dot = static_cast<float>(Group::sum(product, scratch) * scale / count);
    for (int64_t i = Group::rank(); i < args.n; i += Group::kThreads) {
      dx[i] = (weighted(i) - sum - (x[i] - mean) * (scale * dot)) * scale;
    }
  }
}

// dy, or what the weights' gradients add up of it, by rows.
struct Normalised {
  LayerNormBackwardArgs args;
  bool small;
  float* out;  // [rows, n]
  __device__ void operator()(int64_t at) const {
    const int64_t r = divide(at, args.n, small).quotient;
    out[at] = args.dy[at] * (args.x[at] - args.mean[r]) * args.scale[r];
  }
};

}  // namespace

void layer_norm_forward(const LayerNormForwardArgs& args, Context& context) {
  if (args.n == 0) return;
  with_row_group(args.n, [&](auto group) {
    using Group = decltype(group);
    launch(forward_kernel<Group>, Group::grid(args.rows), dim3(kBlock), 0,
           device_of(context).stream(), args);
  });
}

void layer_norm_backward(const LayerNormBackwardArgs& args, Context& context) {
  CudaDevice& device = device_of(context);
  if (args.n == 0) return;
  if (args.dx != nullptr) {
    with_row_group(args.n, [&](auto group) {
      using Group = decltype(group);
      launch(backward_kernel<Group>, Group::grid(args.rows), dim3(kBlock), 0, device.stream(),
             args);
    });
  }
  const int64_t elements = args.rows * args.n;
  if (args.dweight != nullptr) {
    DeviceScratch products(device, elements);
    each(device, elements, Normalised{args, small_numbers(elements), products.data()});
    column_sum(device, products.data(), 1, args.rows, args.n, args.n, 1, args.dweight);
  }
  if (args.dbias != nullptr) {
    column_sum(device, args.dy, 1, args.rows, args.n, args.n, 1, args.dbias);
  }
}

}  // namespace fused_rnn::cuda
