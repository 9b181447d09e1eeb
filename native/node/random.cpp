// Random fills, dropout, sampling and one-hot rows.
#include "engine/calls.h"
#include "node/addon.h"

namespace fused_rnn::node {
namespace {

RandomStream read_stream(Args& args) {
  const auto seed = static_cast<uint64_t>(args.size());
  return {seed, static_cast<uint64_t>(args.size())};
}

struct Fill {
  float a, b;
  RandomStream stream;
};

Fill read_fill(Args& args) {
  const auto a = static_cast<float>(args.number());
  const auto b = static_cast<float>(args.number());
  return {a, b, read_stream(args)};
}

void fill_random(Addon& addon, RandomKind kind, const Fill& fill, const Buffer& out) {
  random_into(addon.executor_of({}, {out}), out, kind, fill.a, fill.b, fill.stream);
}

// random(kind, length, a, b, seed, counter, device) → buffer
Napi::Value random(Addon& addon, Args& args) {
  const auto kind = static_cast<RandomKind>(args.size());
  const int64_t n = args.size();
  const Fill fill = read_fill(args);
  Buffer out = Buffer::make(n, DType::float32, addon.executor(args.integer()).device);
  fill_random(addon, kind, fill, out);
  return addon.wrap(out);
}

// randomIntegers(length, low, range, seed, counter, device) → int32 buffer
Napi::Value random_integers(Addon& addon, Args& args) {
  const int64_t n = args.size(), low = args.integer(), range = args.size();
  const RandomStream stream = read_stream(args);
  Executor& executor = addon.executor(args.integer());
  Buffer out = Buffer::make(n, DType::int32, executor.device);
  executor.enqueue(
      "randint", cost::draws(n), {}, {out}, [=](const Backend& backend, Context& context) {
        RandomArgs call{RandomKind::integer, static_cast<float*>(out.raw()), n, 0, 0, stream.seed,
                        stream.counter};
        call.low = low;
        call.range = range;
        backend.random(call, context);
      });
  return addon.wrap(out);
}

// randomBooleans(length, p, seed, counter, device) → boolean buffer
Napi::Value random_booleans(Addon& addon, Args& args) {
  const int64_t n = args.size();
  const auto p = static_cast<float>(args.number());
  const RandomStream stream = read_stream(args);
  Executor& executor = addon.executor(args.integer());
  Buffer out = Buffer::make(n, DType::boolean, executor.device);
  executor.enqueue("bernoulli", cost::draws(n), {}, {out},
                   [=](const Backend& backend, Context& context) {
                     backend.random({RandomKind::boolean, static_cast<float*>(out.raw()), n, p, 0,
                                     stream.seed, stream.counter},
                                    context);
                   });
  return addon.wrap(out);
}

// multinomial(p, rows, classes, samples, replacement, seed, counter) → int32 [rows, samples]
Napi::Value multinomial(Addon& addon, Args& args) {
  Buffer p = args.buffer();
  const int64_t rows = args.size(), classes = args.size(), samples = args.size();
  const bool replacement = args.boolean();
  const RandomStream stream = read_stream(args);
  args.expect(p, rows * classes);
  Buffer out = p.beside(rows * samples, DType::int32);
  const int64_t cost = replacement ? cost::functions(p.length) + cost::scalar_functions(out.length)
                                   : cost::scalar_functions(p.length);
  addon.enqueue("multinomial", cost, {p}, {out}, [=](const Backend& backend, Context& context) {
    backend.multinomial(
        {out.i32(), p.f32(), rows, classes, samples, replacement, stream.seed, stream.counter},
        context);
  });
  return addon.wrap(out);
}

// randomInto(to, kind, a, b, seed, counter)
Napi::Value random_into_buffer(Addon& addon, Args& args) {
  Buffer to = args.buffer();
  const auto kind = static_cast<RandomKind>(args.size());
  args.expect(to, to.length);
  fill_random(addon, kind, read_fill(args), to);
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
  const RandomStream stream = read_stream(args);
  args.expect(x, n);
  return addon.wrap(fused_rnn::dropout(addon.executor_of({x}, {}), x, p, stream));
}

// sample(logits, rows, classes, temperature, topK, seed, counter) → int32 buffer
Napi::Value sample(Addon& addon, Args& args) {
  Buffer logits = args.buffer();
  const int64_t n = args.size();
  const int64_t classes = args.size();
  const auto temperature = static_cast<float>(args.number());
  const int64_t top_k = args.size();
  const RandomStream stream = read_stream(args);
  args.expect(logits, n * classes);
  Executor& executor = addon.executor_of({logits}, {});
  return addon.wrap(fused_rnn::sample(executor, logits, n, classes, temperature, top_k, stream));
}

// oneHot(indices, length, classes) → buffer, whose values are written when somebody reads them
Napi::Value one_hot(Addon& addon, Args& args) {
  Buffer indices = args.buffer();
  const int64_t n = args.size();
  const int64_t classes = args.size();
  args.expect(indices, n, DType::int32);
  return addon.wrap(fused_rnn::one_hot(addon.executor_of({indices}, {}), indices, classes));
}

}  // namespace

void register_random(Napi::Env env, Napi::Object exports, Addon* addon) {
  add_entry<random>(env, exports, "random", addon);
  add_entry<random_integers>(env, exports, "randomIntegers", addon);
  add_entry<random_booleans>(env, exports, "randomBooleans", addon);
  add_entry<multinomial>(env, exports, "multinomial", addon);
  add_entry<random_into_buffer>(env, exports, "randomInto", addon);
  add_entry<fill_into>(env, exports, "fillInto", addon);
  add_entry<dropout>(env, exports, "dropout", addon);
  add_entry<sample>(env, exports, "sample", addon);
  add_entry<one_hot>(env, exports, "oneHot", addon);
}

}  // namespace fused_rnn::node
