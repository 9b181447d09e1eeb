// The linear layer.
#include "cpu/int8/kernels.h"
#include "engine/calls.h"
#include "engine/int8.h"
#include "node/addon.h"

namespace fused_rnn::node {
namespace {

// linear(x, w, b | null, m, inputs, outputs, inference) → y
Napi::Value linear(Addon& addon, Args& args) {
  Buffer x = args.buffer();
  Buffer w = args.buffer();
  Buffer b = args.optional_buffer();
  const int64_t m = args.size(), in = args.size(), out = args.size();
  const bool inference = args.boolean();
  args.expect(x, m * in);
  args.expect(w, out * in);
  args.expect(b, out);
  Executor& executor = addon.executor_of({x, w, b}, {});
  return addon.wrap(fused_rnn::linear(executor, x, w, b, m, in, out, inference));
}

// linearBackward(dy, x | null, w | null, m, inputs, outputs, bias) → [dx, dw, db]; x is given when
// dw is wanted, w when dx is.
Napi::Value linear_backward(Addon& addon, Args& args) {
  Buffer dy = args.buffer();
  Buffer x = args.optional_buffer();
  Buffer w = args.optional_buffer();
  const int64_t m = args.size(), in = args.size(), out = args.size();
  const bool bias = args.boolean();
  args.expect(dy, m * out);
  args.expect(x, m * in);
  args.expect(w, out * in);
  Executor& executor = addon.executor_of({dy, x, w}, {});
  const auto [dx, dw, db] = fused_rnn::linear_backward(executor, dy, x, w, m, in, out, bias);
  return addon.wrap_all({dx, dw, db});
}

// quantizeWeights(w, groups, rows, columns) → [words int32, scales]
Napi::Value quantize_weights(Addon& addon, Args& args) {
  const Buffer w = args.buffer();
  const int64_t groups = args.size(), rows = args.size(), columns = args.size();
  args.expect(w, groups * rows * columns);
  Executor& executor = addon.executor_of({w}, {});
  expect_cpu(args, executor);
  const auto [words, scales] = fused_rnn::quantize_weights(executor, w, groups, rows, columns);
  return addon.wrap_all({words, scales});
}

// int8Linear(x, words, scales, b | null, m, inputs, outputs) → y
Napi::Value int8_linear(Addon& addon, Args& args) {
  const Buffer x = args.buffer(), words = args.buffer(), scales = args.buffer();
  const Buffer b = args.optional_buffer();
  const int64_t m = args.size(), in = args.size(), out = args.size();
  args.expect(x, m * in);
  args.expect(words, int8_words(1, out, in), DType::int32);
  args.expect(scales, out);
  args.expect(b, out);
  if (in > kInt8Columns) throw Napi::RangeError::New(args.env(), "internal: too many inputs");
  Executor& executor = addon.executor_of({x, words, scales, b}, {});
  expect_cpu(args, executor);
  return addon.wrap(fused_rnn::int8_linear(executor, x, {words, scales}, b, m, in, out));
}

}  // namespace

void register_linear(Napi::Env env, Napi::Object exports, Addon* addon) {
  add_entry<linear>(env, exports, "linear", addon);
  add_entry<quantize_weights>(env, exports, "quantizeWeights", addon);
  add_entry<int8_linear>(env, exports, "int8Linear", addon);
  add_entry<linear_backward>(env, exports, "linearBackward", addon);
}

}  // namespace fused_rnn::node
