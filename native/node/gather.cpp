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

// flatIndex(op, indices, sizes) → int32: the place of (i, j, …) in an array of these sizes. All indices
// are of one length; each is checked against its own size.
Napi::Value flat_index(Addon& addon, Args& args) {
  const std::string op = args.text();
  const std::vector<Buffer> indices = args.buffers();
  const std::vector<int64_t> sizes = args.integers();
  if (indices.empty() || sizes.size() != indices.size())
    throw Napi::RangeError::New(args.env(), "internal: a size for each index");
  const int64_t n = indices[0].length;
  // What each adds, from a table that also checks it, and the sums so far.
  std::vector<Buffer> tables, parts, sums;
  int64_t cost = 0;
  for (size_t k = 0; k < indices.size(); ++k) {
    args.expect(indices[k], n, DType::int32);
    tables.push_back(indices[k].beside(sizes[k], DType::int32));
    parts.push_back(indices[k].beside(n, DType::int32));
    sums.push_back(k == 0 ? parts[0] : indices[k].beside(n, DType::int32));
    cost += cost::functions(sizes[k]) + 2 * cost::elements(n);
  }
  addon.enqueue(
      pure("flatIndex"), cost, indices, {sums.back()},
      [=](const Backend& backend, Context& context) {
        int64_t stride = 1;
        for (size_t k = indices.size(); k-- > 0;) {
          const double step = static_cast<double>(stride), size = static_cast<double>(sizes[k]);
          backend.ramp({true, tables[k].raw(), sizes[k], 0, step, step * (size > 0 ? size - 1 : 0)},
                       context);
          backend.gather_rows({op.c_str(), tables[k].raw(), indices[k].i32(), parts[k].raw(), 1,
                               sizes[k], 1, n, false, 0},
                              context);
          stride *= sizes[k];
        }
        for (size_t k = 1; k < indices.size(); ++k) {
          BinaryArgs add{};
          add.op = BinaryOp::add;
          add.type = DType::int32;
          add.dims = 1;
          add.shape[0] = n;
          add.a_strides[0] = add.b_strides[0] = 1;
          add.out = sums[k].raw();
          add.a = sums[k - 1].raw();
          add.b = parts[k].raw();
          backend.binary(add, context);
        }
      });
  return addon.wrap(sums.back());
}

}  // namespace

void register_gather(Napi::Env env, Napi::Object exports, Addon* addon) {
  add_entry<gather_rows>(env, exports, "gatherRows", addon);
  add_entry<scatter_add_rows>(env, exports, "scatterAddRows", addon);
  add_entry<sum_runs>(env, exports, "sumRuns", addon);
  add_entry<flat_index>(env, exports, "flatIndex", addon);
}

}  // namespace fused_rnn::node
