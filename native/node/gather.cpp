// Rows by index.
#include <cstring>

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
  if (x.dtype == DType::int32) {
    fill = static_cast<uint32_t>(static_cast<int64_t>(fill_value));
  } else {
    const auto value = static_cast<float>(fill_value);
    std::memcpy(&fill, &value, sizeof fill);
  }
  Buffer y = x.beside(outer * n * width, x.dtype);
  addon.enqueue("gatherRows", cost::elements(y.length), {x, index}, {y},
                [=](const Backend& backend, Context& context) {
                  backend.gather_rows(
                      {op.c_str(), static_cast<const uint32_t*>(x.raw()), index.i32(),
                       static_cast<uint32_t*>(y.raw()), outer, rows, width, n, fill_absent, fill},
                      context);
                });
  return addon.wrap(y);
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
  Buffer dx = dy.beside(outer * rows * width);
  addon.enqueue("gatherRows backward", cost::elements(dx.length + dy.length), {dy, index}, {dx},
                [=](const Backend& backend, Context& context) {
                  backend.scatter_add_rows(
                      {dy.f32(), index.i32(), dx.f32(), outer, rows, width, n, skip}, context);
                });
  return addon.wrap(dx);
}

}  // namespace

void register_gather(Napi::Env env, Napi::Object exports, Addon* addon) {
  add_entry<gather_rows>(env, exports, "gatherRows", addon);
  add_entry<scatter_add_rows>(env, exports, "scatterAddRows", addon);
}

}  // namespace fused_rnn::node
