// y = x * w^T + b and its gradients.
//   M rows   I inputs   O outputs
#include "cpu/gemm.h"
#include "cpu/isa.h"
#include "cpu/reduce.h"

FUSED_RNN_KERNELS_BEGIN

void linear(const LinearArgs& args, Context& context) {
  const int64_t m = args.m, in = args.in, out = args.out;
  if (args.b != nullptr) {
    context.pool.parallel_for(m, (1 << 15) / (out + 1) + 1, [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        float* y = args.y + r * out;
        for (int64_t o = 0; o < out; ++o) y[o] = args.b[o];
      }
    });
  }
  Gemm product{};
  product.trans_b = Trans::yes;
  product.m = m, product.n = out, product.k = in;
  product.a = args.x, product.lda = in;
  product.b = args.w, product.ldb = in;
  product.c = args.y, product.ldc = out;
  product.alpha = 1, product.beta = args.b != nullptr ? 1 : 0;
  gemm(product, context);
}

void linear_backward(const LinearBackwardArgs& args, Context& context) {
  const int64_t m = args.m, in = args.in, out = args.out;
  if (args.dx != nullptr) {  // dx[M,I] = dy[M,O] * w[O,I]
    Gemm product{};
    product.m = m, product.n = in, product.k = out;
    product.a = args.dy, product.lda = out;
    product.b = args.w, product.ldb = in;
    product.c = args.dx, product.ldc = in;
    product.alpha = 1, product.beta = 0;
    gemm(product, context);
  }
  if (args.dw != nullptr) {  // dw[O,I] = dy[M,O]^T * x[M,I]
    Gemm product{};
    product.trans_a = Trans::yes;
    product.m = out, product.n = in, product.k = m;
    product.a = args.dy, product.lda = out;
    product.b = args.x, product.ldb = in;
    product.c = args.dw, product.ldc = in;
    product.alpha = 1, product.beta = 0;
    gemm(product, context);
  }
  if (args.db != nullptr) column_sum(args.dy, 1, m, out, 1, args.db, context);
}

FUSED_RNN_KERNELS_END
