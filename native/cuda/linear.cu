// y = x * w^T + b and its gradients.
//   M rows   I inputs   O outputs
#include "cuda/elements.h"
#include "cuda/ops.h"
#include "cuda/reduce.h"

namespace fused_rnn::cuda {
namespace {

// y[r, c] = b[c], which the product is then added to.
struct BiasRows {
  float* y;
  const float* b;
  int64_t columns;
  bool small;
  __device__ void operator()(int64_t i) const { y[i] = b[divide(i, columns, small).rest]; }
};
struct BiasRowsFours {
  Four<float>* y;
  const Four<float>* b;
  int64_t fours;
  bool small;
  __device__ void operator()(int64_t i) const { y[i] = b[divide(i, fours, small).rest]; }
};

void bias_rows(CudaDevice& device, const LinearArgs& args) {
  const int64_t n = args.m * args.out;
  if (args.out % 4 == 0 && aligned16(args.y) && aligned16(args.b)) {
    return each(device, n / 4,
                BiasRowsFours{reinterpret_cast<Four<float>*>(args.y),
                              reinterpret_cast<const Four<float>*>(args.b), args.out / 4,
                              small_numbers(n)});
  }
  each(device, n, BiasRows{args.y, args.b, args.out, small_numbers(n)});
}

}  // namespace

void linear(const LinearArgs& args, Context& context) {
  CudaDevice& device = device_of(context);
  if (args.b != nullptr) bias_rows(device, args);
  device.multiply({.trans_b = true,
                   .m = args.m,
                   .n = args.out,
                   .k = args.in,
                   .a = args.x,
                   .lda = args.in,
                   .b = args.w,
                   .ldb = args.in,
                   .c = args.y,
                   .ldc = args.out,
                   .beta = args.b != nullptr ? 1.0f : 0.0f},
                  device.precision.matmul);
}

void linear_backward(const LinearBackwardArgs& args, Context& context) {
  CudaDevice& device = device_of(context);
  const int64_t m = args.m, in = args.in, out = args.out;
  if (args.dx != nullptr) {  // dx[M,I] = dy[M,O] * w[O,I]
    device.multiply({.m = m,
                     .n = in,
                     .k = out,
                     .a = args.dy,
                     .lda = out,
                     .b = args.w,
                     .ldb = in,
                     .c = args.dx,
                     .ldc = in},
                    device.precision.matmul);
  }
  if (args.dw != nullptr) {  // dw[O,I] = dy[M,O]^T * x[M,I]
    device.multiply({.trans_a = true,
                     .m = out,
                     .n = in,
                     .k = m,
                     .a = args.dy,
                     .lda = out,
                     .b = args.x,
                     .ldb = in,
                     .c = args.dw,
                     .ldc = in},
                    device.precision.matmul);
  }
  if (args.db != nullptr) column_sum(device, args.dy, 1, m, out, out, 1, args.db);
}

}  // namespace fused_rnn::cuda
