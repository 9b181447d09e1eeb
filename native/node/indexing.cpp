// Elements by index and by order; ranges and parts of matrices.
#include <cstring>

#include "node/addon.h"

namespace fused_rnn::node {
namespace {

// The bits of a number as an element of this type.
uint32_t bits_of(double value, DType dtype) {
  if (dtype == DType::int32) return static_cast<uint32_t>(static_cast<int64_t>(value));
  const auto number = static_cast<float>(value);
  uint32_t bits;
  std::memcpy(&bits, &number, sizeof bits);
  return bits;
}

// gather(op, x, index, outer, n, m, inner) → [outer, m, inner] of x's type
Napi::Value gather(Addon& addon, Args& args) {
  const std::string op = args.text();
  Buffer x = args.buffer();
  Buffer index = args.buffer();
  const int64_t outer = args.size(), n = args.size(), m = args.size(), inner = args.size();
  args.expect(x, outer * n * inner, x.dtype);
  args.expect(index, outer * m * inner, DType::int32);
  Buffer out = x.beside(index.length, x.dtype);
  addon.enqueue(pure("gather"), cost::functions(out.length), {x, index}, {out},
                [=](const Backend& backend, Context& context) {
                  backend.gather(
                      {op.c_str(), static_cast<uint32_t*>(out.raw()),
                       static_cast<const uint32_t*>(x.raw()), index.i32(), outer, n, m, inner},
                      context);
                });
  return addon.wrap(out);
}

// scatter(op, x or null, index, src or null, number, outer, n, m, inner, add) → [outer, n, inner]
Napi::Value scatter(Addon& addon, Args& args) {
  const std::string op = args.text();
  Buffer x = args.optional_buffer();
  Buffer index = args.buffer();
  Buffer src = args.optional_buffer();
  const double value = args.number();
  const int64_t outer = args.size(), n = args.size(), m = args.size(), inner = args.size();
  const bool add = args.boolean();
  const DType dtype = x ? x.dtype : src ? src.dtype : DType::float32;
  args.expect(x, outer * n * inner, dtype);
  args.expect(index, outer * m * inner, DType::int32);
  args.expect(src, index.length, dtype);
  const bool integer = dtype == DType::int32;
  const uint32_t number = bits_of(value, dtype);
  Buffer out = index.beside(outer * n * inner, dtype);
  addon.enqueue(pure("scatter"), cost::elements(out.length) + cost::functions(index.length),
                {x, index, src}, {out}, [=](const Backend& backend, Context& context) {
                  backend.scatter(
                      {op.c_str(), integer, add, out.raw(), x ? x.raw() : nullptr, index.i32(),
                       src ? src.raw() : nullptr, number, outer, n, m, inner},
                      context);
                });
  return addon.wrap(out);
}

// sort(x, rows, n, k, descending, values) → [values or null, int32 indices], each [rows, k]
Napi::Value sort(Addon& addon, Args& args) {
  Buffer x = args.buffer();
  const int64_t rows = args.size(), n = args.size(), k = args.size();
  const bool descending = args.boolean(), values = args.boolean();
  const bool integer = x.dtype == DType::int32;
  args.expect(x, rows * n, x.dtype);
  if (k > n || n > INT32_MAX) throw Napi::RangeError::New(args.env(), "internal: sort of too many");
  Buffer value = values ? x.beside(rows * k, x.dtype) : Buffer{};
  Buffer index = x.beside(rows * k, DType::int32);
  const int64_t cost = k * 4 > n ? 4 * cost::functions(x.length) : cost::functions(x.length);
  addon.enqueue(
      pure("sort"), cost, {x}, {value, index}, [=](const Backend& backend, Context& context) {
        backend.sort({integer, descending, values ? static_cast<uint32_t*>(value.raw()) : nullptr,
                      index.i32(), static_cast<const uint32_t*>(x.raw()), rows, n, k},
                     context);
      });
  return addon.wrap_all({value, index});
}

// ramp(length, start, step, end, integer, device) → buffer
Napi::Value ramp(Addon& addon, Args& args) {
  const int64_t n = args.size();
  const double start = args.number(), step = args.number(), end = args.number();
  const bool integer = args.boolean();
  Executor& executor = addon.executor(args.integer());
  Buffer out = Buffer::make(n, integer ? DType::int32 : DType::float32, executor.device);
  executor.enqueue("arange", cost::functions(n), {}, {out},
                   [=](const Backend& backend, Context& context) {
                     backend.ramp({integer, out.raw(), n, start, step, end}, context);
                   });
  return addon.wrap(out);
}

// band(x, batch, rows, columns, low, high) → buffer
Napi::Value band(Addon& addon, Args& args) {
  Buffer x = args.buffer();
  const int64_t batch = args.size(), rows = args.size(), columns = args.size();
  const int64_t low = args.integer(), high = args.integer();
  args.expect(x, batch * rows * columns, x.dtype);
  Buffer out = x.beside(x.length, x.dtype);
  addon.enqueue(
      "band", cost::elements(x.length), {x}, {out}, [=](const Backend& backend, Context& context) {
        backend.band({static_cast<uint32_t*>(out.raw()), static_cast<const uint32_t*>(x.raw()), 0,
                      batch, rows, columns, low, high},
                     context);
      });
  return addon.wrap(out);
}

// eye(rows, columns, integer, device) → buffer
Napi::Value eye(Addon& addon, Args& args) {
  const int64_t rows = args.size(), columns = args.size();
  const bool integer = args.boolean();
  Executor& executor = addon.executor(args.integer());
  const DType dtype = integer ? DType::int32 : DType::float32;
  const uint32_t one = bits_of(1, dtype);
  Buffer out = Buffer::make(rows * columns, dtype, executor.device);
  executor.enqueue(
      "eye", cost::elements(out.length), {}, {out}, [=](const Backend& backend, Context& context) {
        backend.band({static_cast<uint32_t*>(out.raw()), nullptr, one, 1, rows, columns, 0, 0},
                     context);
      });
  return addon.wrap(out);
}

}  // namespace

void register_indexing(Napi::Env env, Napi::Object exports, Addon* addon) {
  add_entry<gather>(env, exports, "gather", addon);
  add_entry<scatter>(env, exports, "scatter", addon);
  add_entry<sort>(env, exports, "sort", addon);
  add_entry<ramp>(env, exports, "ramp", addon);
  add_entry<band>(env, exports, "band", addon);
  add_entry<eye>(env, exports, "eye", addon);
}

}  // namespace fused_rnn::node
