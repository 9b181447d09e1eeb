// y = x * w^T + b and its gradients.
//   M rows   I inputs   O outputs
#include "cpu/bf16/products.h"
#include "cpu/gemm.h"
#include "cpu/int8/products.h"
#include "cpu/isa.h"
#include "cpu/reduce.h"

FUSED_RNN_KERNELS_BEGIN

void linear(const LinearArgs& args, Context& context) {
  const int64_t m = args.m, in = args.in, out = args.out;
  if (args.int8.words != nullptr) {
    multiply_int8({args.int8, out, in}, 1, m, args.x, args.y, out, args.b, context);
    return;
  }
  if (args.kept != nullptr) {
    multiply_kept(m, out, in, args.x, args.kept, args.y, out, args.b, context);
    return;
  }
  gemm({.trans_b = Trans::yes,
        .m = m,
        .n = out,
        .k = in,
        .a = args.x,
        .lda = in,
        .b = args.w,
        .ldb = in,
        .c = args.y,
        .ldc = out,
        .start = args.b,
        .bf16 = args.bf16},
       context);
}

void linear_backward(const LinearBackwardArgs& args, Context& context) {
  const int64_t m = args.m, in = args.in, out = args.out;
  if (args.dx != nullptr) {  // dx[M,I] = dy[M,O] * w[O,I]
    gemm({.m = m,
          .n = in,
          .k = out,
          .a = args.dy,
          .lda = out,
          .b = args.w,
          .ldb = in,
          .c = args.dx,
          .ldc = in,
          .bf16 = args.bf16},
         context);
  }
  if (args.dw != nullptr) {  // dw[O,I] = dy[M,O]^T * x[M,I]
    gemm({.trans_a = Trans::yes,
          .m = out,
          .n = in,
          .k = m,
          .a = args.dy,
          .lda = out,
          .b = args.x,
          .ldb = in,
          .c = args.dw,
          .ldc = in,
          .bf16 = args.bf16},
         context);
  }
  if (args.db != nullptr) column_sum(args.dy, 1, m, out, out, 1, args.db, context);
}

FUSED_RNN_KERNELS_END
