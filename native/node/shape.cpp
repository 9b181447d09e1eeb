// Copies between layouts.
#include "node/addon.h"

namespace fused_rnn::node {
namespace {

// copyStrided(x, shape, strides, offset) → contiguous buffer of x's type
Napi::Value copy_strided(Addon& addon, Args& args) {
  Buffer x = args.buffer();
  const auto shape = args.integers();
  const auto strides = args.integers();
  const int64_t offset = args.size();
  args.expect_reach(x, shape, strides, offset);
  CopyStridedArgs call{};
  call.dims = static_cast<int32_t>(shape.size());
  call.bytes = x.dtype == DType::boolean;
  int64_t n = 1;
  for (size_t d = 0; d < shape.size(); ++d) {
    call.shape[d] = shape[d];
    call.strides[d] = strides[d];
    n *= shape[d];
  }
  Buffer out = x.beside(n, x.dtype);
  addon.enqueue(pure("copy"), cost::functions(n), {x}, {out},
                [=](const Backend& backend, Context& context) mutable {
                  call.out = out.raw();
                  call.in = static_cast<const char*>(x.raw()) + offset * size_of(x.dtype);
                  backend.copy_strided(call, context);
                });
  return addon.wrap(out);
}

// concat(inputs, widths, outer) → [outer, sum of widths]; a null input stands for zeros, and all
// others, of which there is one at least, have one type
Napi::Value concat(Addon& addon, Args& args) {
  const std::vector<Buffer> inputs = args.buffers();
  const std::vector<int64_t> widths = args.integers();
  const int64_t outer = args.size();
  if (widths.size() != inputs.size()) {
    throw Napi::TypeError::New(args.env(), "internal: concat takes a width for each input");
  }
  Buffer first;
  for (const Buffer& input : inputs) {
    if (input) first = input;
  }
  if (!first) throw Napi::TypeError::New(args.env(), "internal: concat takes an input");
  const DType dtype = first.dtype;
  int64_t total = 0;
  for (size_t i = 0; i < inputs.size(); ++i) {
    args.expect(inputs[i], outer * widths[i], dtype);
    total += widths[i];
  }
  Buffer out = first.beside(outer * total, dtype);
  addon.enqueue(pure("cat"), cost::elements(out.length), inputs, {out},
                [=](const Backend& backend, Context& context) {
                  std::vector<const void*> pointers;
                  for (const Buffer& input : inputs) pointers.push_back(input.raw());
                  backend.concat(
                      {out.raw(), pointers.data(), widths.data(),
                       static_cast<int64_t>(inputs.size()), outer, dtype == DType::boolean},
                      context);
                });
  return addon.wrap(out);
}

}  // namespace

void register_shape(Napi::Env env, Napi::Object exports, Addon* addon) {
  add_entry<copy_strided>(env, exports, "copyStrided", addon);
  add_entry<concat>(env, exports, "concat", addon);
}

}  // namespace fused_rnn::node
