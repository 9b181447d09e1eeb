// Matrix products.
#include <algorithm>

#include "node/addon.h"

namespace fused_rnn::node {
namespace {

// matmul(a, b, transA, transB, m, n, k, shape, aStrides, bStrides) → [...shape, m, n]; strides
// count matrices
Napi::Value matmul(Addon& addon, Args& args) {
  MatmulArgs call{};
  Buffer a = args.buffer();
  Buffer b = args.buffer();
  call.trans_a = args.boolean();
  call.trans_b = args.boolean();
  call.m = args.size(), call.n = args.size(), call.k = args.size();
  args.expect(a, a.length);
  args.expect(b, b.length);
  const auto shape = args.integers();
  const auto a_strides = args.integers();
  const auto b_strides = args.integers();
  call.dims = static_cast<int32_t>(shape.size());
  if (shape.size() > kMaxDims || a_strides.size() != shape.size() ||
      b_strides.size() != shape.size()) {
    throw Napi::RangeError::New(args.env(), "internal: matmul with wrong batch dimensions");
  }
  int64_t n = call.m * call.n, a_last = 1, b_last = 1;  // the last matrix used, plus one
  for (size_t d = 0; d < shape.size(); ++d) {
    call.shape[d] = shape[d];
    call.a_strides[d] = a_strides[d];
    call.b_strides[d] = b_strides[d];
    n *= shape[d];
    a_last += (shape[d] - 1) * a_strides[d];
    b_last += (shape[d] - 1) * b_strides[d];
  }
  if (n > 0 && (a_last * call.m * call.k > a.length || b_last * call.k * call.n > b.length ||
                a.dtype != DType::float32 || b.dtype != DType::float32)) {
    throw Napi::RangeError::New(args.env(), "internal: matmul beyond its buffers");
  }
  call.bf16 = addon.executor_of({a, b}, {}).precision.matmul;
  Buffer out = a.beside(n);
  const int64_t matrices = n / std::max<int64_t>(call.m * call.n, 1);
  addon.enqueue(pure("matmul"), matrices * cost::product(call.m, call.n, call.k), {a, b}, {out},
                [=](const Backend& backend, Context& context) mutable {
                  call.out = out.f32();
                  call.a = a.f32();
                  call.b = b.f32();
                  backend.matmul(call, context);
                });
  return addon.wrap(out);
}

}  // namespace

void register_matmul(Napi::Env env, Napi::Object exports, Addon* addon) {
  add_entry<matmul>(env, exports, "matmul", addon);
}

}  // namespace fused_rnn::node
