// Random fills, dropout, sampling and one-hot rows.
#include "node/addon.h"
#include "node/deferred.h"

namespace fused_rnn::node {
namespace {

struct Stream {
  uint64_t seed;
  uint64_t counter;
};

Stream read_stream(Args& args) {
  const auto seed = static_cast<uint64_t>(args.size());
  return {seed, static_cast<uint64_t>(args.size())};
}

struct Fill {
  float a, b;
  Stream stream;
};

Fill read_fill(Args& args) {
  const auto a = static_cast<float>(args.number());
  const auto b = static_cast<float>(args.number());
  return {a, b, read_stream(args)};
}

void enqueue_random(Addon& addon, RandomKind kind, const Fill& fill, const Buffer& out) {
  const int64_t cost =
      kind == RandomKind::normal ? cost::scalar_functions(out.length) : cost::draws(out.length);
  addon.enqueue("random", cost, {}, {out}, [=](const Backend& backend, Context& context) {
    const auto& [a, b, stream] = fill;
    backend.random({kind, out.f32(), out.length, a, b, stream.seed, stream.counter}, context);
  });
}

// random(kind, length, a, b, seed, counter, device) → buffer
Napi::Value random(Addon& addon, Args& args) {
  const auto kind = static_cast<RandomKind>(args.size());
  const int64_t n = args.size();
  const Fill fill = read_fill(args);
  Buffer out = Buffer::make(n, DType::float32, addon.place(args.integer()).device);
  enqueue_random(addon, kind, fill, out);
  return addon.wrap(out);
}

// randomInto(to, kind, a, b, seed, counter)
Napi::Value random_into(Addon& addon, Args& args) {
  Buffer to = args.buffer();
  const auto kind = static_cast<RandomKind>(args.size());
  args.expect(to, to.length);
  enqueue_random(addon, kind, read_fill(args), to);
  return args.env().Undefined();
}

// fillInto(to, value)
Napi::Value fill_into(Addon& addon, Args& args) {
  Buffer to = args.buffer();
  const auto value = static_cast<float>(args.number());
  args.expect(to, to.length);
  addon.enqueue("fill", cost::elements(to.length), {}, {to},
                [=](const Backend& backend, Context& context) {
                  backend.fill({to.f32(), to.length, value}, context);
                });
  return args.env().Undefined();
}

// dropout(x, length, p, seed, counter) → buffer
Napi::Value dropout(Addon& addon, Args& args) {
  Buffer x = args.buffer();
  const int64_t n = args.size();
  const auto p = static_cast<float>(args.number());
  const Stream stream = read_stream(args);
  args.expect(x, n);
  Buffer out = x.beside(n);
  addon.enqueue("dropout", cost::draws(n), {x}, {out},
                [=](const Backend& backend, Context& context) {
                  backend.dropout({out.f32(), x.f32(), n, p, stream.seed, stream.counter}, context);
                });
  return addon.wrap(out);
}

// sample(logits, rows, classes, temperature, topK, seed, counter) → int32 buffer
Napi::Value sample(Addon& addon, Args& args) {
  Buffer logits = args.buffer();
  const int64_t n = args.size();
  const int64_t classes = args.size();
  const auto temperature = static_cast<float>(args.number());
  const int64_t top_k = args.size();
  const Stream stream = read_stream(args);
  args.expect(logits, n * classes);
  Buffer out = logits.beside(n, DType::int32);
  addon.enqueue("sample", 4 * cost::functions(n * classes), {logits}, {out},
                [=](const Backend& backend, Context& context) {
                  backend.sample({out.i32(), logits.f32(), n, classes, temperature, top_k,
                                  stream.seed, stream.counter},
                                 context);
                });
  return addon.wrap(out);
}

// oneHot(indices, length, classes) → buffer, whose values are written when somebody reads them
Napi::Value one_hot(Addon& addon, Args& args) {
  Buffer indices = args.buffer();
  const int64_t n = args.size();
  const int64_t classes = args.size();
  args.expect(indices, n, DType::int32);
  Buffer out = indices.beside(n * classes);
  addon.enqueue(
      "oneHot", cost::elements(n), {indices}, {out}, [=](const Backend& backend, Context& context) {
        backend.one_hot({nullptr, indices.i32(), n, classes}, context);
        const Buffer index = indices.beside(n, DType::int32);
        backend.copy({reinterpret_cast<uint32_t*>(index.i32()),
                      reinterpret_cast<const uint32_t*>(indices.i32()), n},
                     context);
        out.storage->defer(std::make_shared<DeferredOneHot>(backend, context, index, classes));
      });
  return addon.wrap(out);
}

}  // namespace

void register_random(Napi::Env env, Napi::Object exports, Addon* addon) {
  add_entry<random>(env, exports, "random", addon);
  add_entry<random_into>(env, exports, "randomInto", addon);
  add_entry<fill_into>(env, exports, "fillInto", addon);
  add_entry<dropout>(env, exports, "dropout", addon);
  add_entry<sample>(env, exports, "sample", addon);
  add_entry<one_hot>(env, exports, "oneHot", addon);
}

}  // namespace fused_rnn::node
