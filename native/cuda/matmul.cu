// Batches of matrix products.
#include "cuda/ops.h"

namespace fused_rnn::cuda {
namespace {

// The batch without dimensions of size one, with neighbours that one stride each can walk made one.
struct Batch {
  int dims = 0;
  int64_t shape[kMaxDims], a[kMaxDims], b[kMaxDims];
};

Batch collapse(const MatmulArgs& args) {
  Batch batch;
  for (int d = 0; d < args.dims; ++d) {
    const int64_t size = args.shape[d], a = args.a_strides[d], b = args.b_strides[d];
    if (size == 1) continue;
    const int last = batch.dims - 1;
    if (last >= 0 && batch.a[last] == a * size && batch.b[last] == b * size) {
      batch.shape[last] *= size;
      batch.a[last] = a;
      batch.b[last] = b;
    } else {
      batch.shape[batch.dims] = size;
      batch.a[batch.dims] = a;
      batch.b[batch.dims] = b;
      batch.dims += 1;
    }
  }
  return batch;
}

}  // namespace

void matmul(const MatmulArgs& args, Context& context) {
  CudaDevice& device = device_of(context);
  const int64_t m = args.m, n = args.n, k = args.k;
  const Batch batch = collapse(args);
  Product product{.trans_a = args.trans_a,
                  .trans_b = args.trans_b,
                  .m = m,
                  .n = n,
                  .k = k,
                  .a = args.a,
                  .lda = args.trans_a ? m : k,
                  .b = args.b,
                  .ldb = args.trans_b ? k : n,
                  .c = args.out,
                  .ldc = n};
  int64_t others = 1;  // products, or batches of them, that no stride joins
  const int last = batch.dims - 1;
  for (int d = 0; d < last; ++d) others *= batch.shape[d];
  if (last >= 0) {
    if (batch.b[last] == 0 && batch.a[last] == 1 && !args.trans_a) {
      product.m = m * batch.shape[last];  // one matrix of all rows
    } else {
      product.count = batch.shape[last];
      product.stride_a = batch.a[last] * m * k;
      product.stride_b = batch.b[last] * k * n;
      product.stride_c = m * n;
    }
  }
  const int64_t step = last >= 0 ? batch.shape[last] * m * n : 0;
  for (int64_t i = 0; i < others; ++i) {
    context.check_stop();
    int64_t a = 0, b = 0, rest = i;
    for (int d = last - 1; d >= 0; --d) {
      a += rest % batch.shape[d] * batch.a[d];
      b += rest % batch.shape[d] * batch.b[d];
      rest /= batch.shape[d];
    }
    product.a = args.a + a * m * k;
    product.b = args.b + b * k * n;
    product.c = args.out + i * step;
    device.multiply(product, device.precision.matmul);
  }
}

}  // namespace fused_rnn::cuda
