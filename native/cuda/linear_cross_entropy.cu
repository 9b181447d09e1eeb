// The gradients of a linear layer under a cross entropy, in tiles of rows of the logits' gradient:
// [M, O] of it, often the largest array of a training step, never exists as a whole.
//   M rows   I inputs   O classes
#include "cuda/elements.h"
#include "cuda/loss.h"
#include "cuda/ops.h"
#include "cuda/reduce.h"

namespace fused_rnn::cuda {
namespace {

// A tile has about kTileFloats elements, but at least kTileRows rows: with fewer, reading and
// writing dw for each tile takes longer than the products.
constexpr int64_t kTileFloats = int64_t{1} << 24;
constexpr int64_t kTileRows = 512;

// tile[r, c] = dlogits[row + r, c], a thread for each.
__global__ void __launch_bounds__(kBlock)
    gradient_tile_kernel(CrossEntropyGradient gradient, int64_t row, int64_t rows, int64_t classes,
                         float* tile) {
  for (int64_t r = blockIdx.y; r < rows; r += gridDim.y) {
    const CrossEntropyGradient::Row shared = gradient.row(row + r);
    for (int64_t c = global_thread(); c < classes; c += grid_stride()) {
      tile[r * classes + c] = gradient.at(shared, row + r, c);
    }
  }
}

}  // namespace

void linear_cross_entropy_backward(const LinearCrossEntropyBackwardArgs& args, Context& context) {
  CudaDevice& device = device_of(context);
  const int64_t in = args.in, out = args.out;
  DeviceScratch factor(device, 2);
  cross_entropy_factor(device, args.loss, factor.data());
  const CrossEntropyGradient gradient(args.loss, factor.data());

  const int64_t wanted_rows =
      std::max(kTileRows, kTileFloats / std::max<int64_t>(out, 1) / 128 * 128);
  const int64_t tile_rows = std::min(wanted_rows, std::max<int64_t>(args.m, 1));
  const int64_t tiles = std::max<int64_t>(1, (args.m + tile_rows - 1) / tile_rows);
  DeviceScratch tile(device, tile_rows * out);
  DeviceScratch sums(device, args.db != nullptr ? tiles * out : 0);
  for (int64_t t = 0; t < tiles; ++t) {
    context.check_stop();
    const int64_t row = t * tile_rows, rows = std::min(tile_rows, args.m - row);
    dim3 grid = blocks_for(out, 65535);
    grid.y = static_cast<unsigned>(std::min<int64_t>(rows, 65535));
    launch(gradient_tile_kernel, grid, dim3(kBlock), 0, device.stream(), gradient, row, rows, out,
           tile.data());
    if (args.db != nullptr) {
      column_sum(device, tile.data(), 1, rows, out, out, 1, sums.data() + t * out);
    }
    if (args.dx != nullptr) {
      device.multiply({.m = rows,
                       .n = in,
                       .k = out,
                       .a = tile.data(),
                       .lda = out,
                       .b = args.w,
                       .ldb = in,
                       .c = args.dx + row * in,
                       .ldc = in},
                      device.precision.matmul);
    }
    if (args.dw != nullptr) {
      device.multiply({.trans_a = true,
                       .m = out,
                       .n = in,
                       .k = rows,
                       .a = tile.data(),
                       .lda = out,
                       .b = args.x + row * in,
                       .ldb = in,
                       .c = args.dw,
                       .ldc = in,
                       .beta = t == 0 ? 0.0f : 1.0f},
                      device.precision.matmul);
    }
  }
  if (args.db != nullptr) column_sum(device, sums.data(), 1, tiles, out, out, 1, args.db);
}

}  // namespace fused_rnn::cuda
