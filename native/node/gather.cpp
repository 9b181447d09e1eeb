// Rows by index.
#include <cstring>

#include "engine/calls.h"
#include "node/addon.h"

namespace fused_rnn::node {
namespace {

// gatherRows(op, x, index, outer, rows, width, fillAbsent, fill) → [outer, index.length, width] of
// x's type
Napi::Value gather_rows(Addon& addon, Args& args) {
  const std::string op = args.text();
  Buffer x = args.buffer();
  Buffer index = args.buffer();
  const int64_t outer = args.size(), rows = args.size(), width = args.size();
  const bool fill_absent = args.boolean();
  const double fill_value = args.number();
  const int64_t n = index.length;
  args.expect(x, outer * rows * width, x.dtype);
  args.expect(index, n, DType::int32);
  uint32_t fill;
  if (x.dtype != DType::float32) {
    fill = static_cast<uint32_t>(static_cast<int64_t>(fill_value));
  } else {
    const auto value = static_cast<float>(fill_value);
    std::memcpy(&fill, &value, sizeof fill);
  }
  Executor& executor = addon.executor_of({x, index}, {});
  return addon.wrap(
      fused_rnn::gather_rows(executor, op, x, index, {outer, rows, width}, fill_absent, fill));
}

// scatterAddRows(dy, index, outer, rows, width, skip) → dx [outer, rows, width]
Napi::Value scatter_add_rows(Addon& addon, Args& args) {
  Buffer dy = args.buffer();
  Buffer index = args.buffer();
  const int64_t outer = args.size(), rows = args.size(), width = args.size();
  const int64_t skip = args.integer();
  const int64_t n = index.length;
  args.expect(dy, outer * n * width);
  args.expect(index, n, DType::int32);
  Executor& executor = addon.executor_of({dy, index}, {});
  return addon.wrap(fused_rnn::scatter_add_rows(executor, dy, index, {outer, rows, width}, skip));
}

// sumRuns(sorted, order, x, width) → [index, sums]
Napi::Value sum_runs(Addon& addon, Args& args) {
  Buffer sorted = args.buffer();
  Buffer order = args.buffer();
  Buffer x = args.buffer();
  const int64_t n = sorted.length, width = args.size();
  args.expect(sorted, n, DType::int32);
  args.expect(order, n, DType::int32);
  args.expect(x, n * width);
  Buffer index = x.beside(n, DType::int32), sums = x.beside(n * width);
  addon.enqueue(pure("sumRuns"), cost::elements(2 * n * width + n), {sorted, order, x},
                {index, sums}, [=](const Backend& backend, Context& context) {
                  backend.sum_runs(
                      {sorted.i32(), order.i32(), x.f32(), index.i32(), sums.f32(), n, width},
                      context);
                });
  return addon.wrap_all({index, sums});
}

}  // namespace

void register_gather(Napi::Env env, Napi::Object exports, Addon* addon) {
  add_entry<gather_rows>(env, exports, "gatherRows", addon);
  add_entry<scatter_add_rows>(env, exports, "scatterAddRows", addon);
  add_entry<sum_runs>(env, exports, "sumRuns", addon);
}

}  // namespace fused_rnn::node
