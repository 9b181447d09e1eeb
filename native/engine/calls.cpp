#include "engine/calls.h"

#include <memory>
#include <utility>

#include "engine/deferred.h"
#include "engine/kept_weights.h"

namespace fused_rnn {

Buffer linear(Executor& executor, const Buffer& x, const Buffer& w, const Buffer& b, int64_t m,
              int64_t in, int64_t out, bool inference) {
  const Buffer y = x.beside(m * out);
  executor.enqueue(pure("linear"), cost::product(m, out, in), {x, w, b}, {y},
                   [=, bf16 = executor.precision.matmul, changes = executor.queue.changes()](
                       const Backend& backend, Context& context) {
                     const bool few = bf16 && inference && m <= kKeptRows;
                     const uint32_t* kept = few ? kept_weights(w, out, in, changes) : nullptr;
                     backend.linear({x.f32(), w.f32(), b.f32(), y.f32(), m, in, out, bf16, kept},
                                    context);
                   });
  return y;
}

LinearGradients linear_backward(Executor& executor, const Buffer& dy, const Buffer& x,
                                const Buffer& w, int64_t m, int64_t in, int64_t out, bool bias) {
  const Buffer dx = w ? dy.beside(m * in) : Buffer{};
  const Buffer dw = x ? dy.beside(out * in) : Buffer{};
  const Buffer db = bias ? dy.beside(out) : Buffer{};
  const int64_t cost =
      ((w ? 1 : 0) + (x ? 1 : 0)) * cost::product(m, out, in) + cost::elements(m * out);
  executor.enqueue(
      "linear backward", cost, {dy, x, w}, {dx, dw, db},
      [=, bf16 = executor.precision.matmul](const Backend& backend, Context& context) {
        const auto* gradient = dy.deferred<DeferredLogitsGradient>();
        if (gradient != nullptr && m > 0 && gradient->has_shape(m, out)) {
          return backend.linear_cross_entropy_backward(
              {gradient->args(), x.f32(), w.f32(), dx.f32(), dw.f32(), db.f32(), m, in, out, bf16},
              context);
        }
        backend.linear_backward(
            {dy.f32(), x.f32(), w.f32(), dx.f32(), dw.f32(), db.f32(), m, in, out, bf16}, context);
      });
  return {dx, dw, db};
}

CrossEntropyOutput cross_entropy(Executor& executor, const CrossEntropyCall& call) {
  const Buffer loss = call.logits.beside(call.losses());
  const Buffer lse = call.logits.beside(call.shape.n);
  executor.enqueue(pure("crossEntropy"), call.cost(), {call.logits, call.target, call.weight},
                   {loss, lse}, [=](const Backend& backend, Context& context) {
                     backend.cross_entropy_forward(
                         {call.shape, call.logits.f32(), call.target.i32(), loss.f32(), lse.f32(),
                          call.weight.f32()},
                         context);
                   });
  return {loss, lse};
}

Buffer cross_entropy_backward(Executor& executor, const CrossEntropyCall& call, const Buffer& lse,
                              const Buffer& dloss, bool defer) {
  const Buffer dlogits = call.logits.beside(call.shape.n * call.shape.classes);
  executor.enqueue(
      "crossEntropy backward", call.cost(), {call.logits, call.target, call.weight, lse, dloss},
      {dlogits}, [=](const Backend& backend, Context& context) {
        if (defer) {
          return dlogits.storage->defer(std::make_shared<DeferredLogitsGradient>(
              backend, context, call.shape, call.logits, call.target, call.weight, lse, dloss));
        }
        backend.cross_entropy_backward({call.shape, call.logits.f32(), call.target.i32(), lse.f32(),
                                        dloss.f32(), dlogits.f32(), call.weight.f32()},
                                       context);
      });
  return dlogits;
}

Buffer gather_rows(Executor& executor, std::string op, const Buffer& x, const Buffer& index,
                   const RowsShape& shape, bool fill_absent, uint32_t fill) {
  const int64_t n = index.length;
  const Buffer y = x.beside(shape.outer * n * shape.width, x.dtype);
  executor.enqueue(pure("gatherRows"), cost::elements(y.length), {x, index}, {y},
                   [=, op = std::move(op)](const Backend& backend, Context& context) {
                     backend.gather_rows(
                         {op.c_str(), x.raw(), index.i32(), y.raw(), shape.outer, shape.rows,
                          shape.width, n, fill_absent, fill, x.dtype == DType::boolean},
                         context);
                   });
  return y;
}

Buffer scatter_add_rows(Executor& executor, const Buffer& dy, const Buffer& index,
                        const RowsShape& shape, int64_t skip) {
  const Buffer dx = dy.beside(shape.outer * shape.rows * shape.width);
  executor.enqueue("gatherRows backward", cost::elements(dx.length + dy.length), {dy, index}, {dx},
                   [=](const Backend& backend, Context& context) {
                     backend.scatter_add_rows({dy.f32(), index.i32(), dx.f32(), shape.outer,
                                               shape.rows, shape.width, index.length, skip},
                                              context);
                   });
  return dx;
}

Buffer dropout(Executor& executor, const Buffer& x, float p, const RandomStream& stream) {
  const Buffer out = x.beside(x.length);
  executor.enqueue(
      "dropout", cost::draws(x.length), {x}, {out}, [=](const Backend& backend, Context& context) {
        backend.dropout({out.f32(), x.f32(), x.length, p, stream.seed, stream.counter}, context);
      });
  return out;
}

Buffer sample(Executor& executor, const Buffer& logits, int64_t n, int64_t classes,
              float temperature, int64_t top_k, const RandomStream& stream) {
  const Buffer out = logits.beside(n, DType::int32);
  executor.enqueue(pure("sample"), 4 * cost::functions(n * classes), {logits}, {out},
                   [=](const Backend& backend, Context& context) {
                     backend.sample({out.i32(), logits.f32(), n, classes, temperature, top_k,
                                     stream.seed, stream.counter},
                                    context);
                   });
  return out;
}

void random_into(Executor& executor, const Buffer& out, RandomKind kind, float a, float b,
                 const RandomStream& stream) {
  const int64_t cost =
      kind == RandomKind::normal ? cost::normal_draws(out.length) : cost::draws(out.length);
  executor.enqueue("random", cost, {}, {out}, [=](const Backend& backend, Context& context) {
    backend.random({kind, out.f32(), out.length, a, b, stream.seed, stream.counter}, context);
  });
}

Buffer one_hot(Executor& executor, const Buffer& indices, int64_t classes) {
  const int64_t n = indices.length;
  const Buffer out = indices.beside(n * classes);
  executor.enqueue(
      "oneHot", cost::elements(n), {indices}, {out}, [=](const Backend& backend, Context& context) {
        backend.one_hot({nullptr, indices.i32(), n, classes}, context);
        const Buffer index = indices.beside(n, DType::int32);
        backend.copy({index.raw(), indices.raw(), static_cast<int64_t>(index.bytes())}, context);
        out.storage->defer(std::make_shared<DeferredOneHot>(backend, context, index, classes));
      });
  return out;
}

}  // namespace fused_rnn
