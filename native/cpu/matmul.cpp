// Batches of matrix products.
#include "cpu/gemm.h"
#include "cpu/isa.h"

FUSED_RNN_KERNELS_BEGIN

void matmul(const MatmulArgs& args, Context& context) {
  const int64_t m = args.m, n = args.n, k = args.k;
  int64_t batch = 1;
  for (int d = 0; d < args.dims; ++d) batch *= args.shape[d];
  auto product = [&](int64_t i) {
    int64_t a = 0, b = 0, rest = i;
    for (int d = args.dims - 1; d >= 0; --d) {
      a += rest % args.shape[d] * args.a_strides[d];
      b += rest % args.shape[d] * args.b_strides[d];
      rest /= args.shape[d];
    }
    return Gemm{.trans_a = args.trans_a ? Trans::yes : Trans::no,
                .trans_b = args.trans_b ? Trans::yes : Trans::no,
                .m = m,
                .n = n,
                .k = k,
                .a = args.a + a * m * k,
                .lda = args.trans_a ? m : k,
                .b = args.b + b * k * n,
                .ldb = args.trans_b ? k : n,
                .c = args.out + i * m * n,
                .ldc = n,
                .bf16 = args.bf16};
  };
  if (batch >= context.pool.threads() && batch > 1) {
    const int64_t grain = (1 << 17) / (m * n * k + 1) + 1;
    context.pool.parallel_for(batch, grain, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        context.check_stop();
        gemm(product(i));
      }
    });
    return;
  }
  for (int64_t i = 0; i < batch; ++i) gemm(product(i), context);
}

FUSED_RNN_KERNELS_END
