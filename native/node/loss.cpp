// Losses.
#include "engine/calls.h"
#include "node/addon.h"

namespace fused_rnn::node {
namespace {

// (logits, target, weight, rows, classes, ignoreIndex, labelSmoothing, logProbabilities, reduction)
CrossEntropyCall read_cross_entropy(Args& args) {
  CrossEntropyCall call;
  call.logits = args.buffer();
  call.target = args.buffer();
  call.weight = args.optional_buffer();
  call.shape.n = args.size();
  call.shape.classes = args.size();
  call.shape.ignore_index = args.integer();
  call.shape.label_smoothing = static_cast<float>(args.number());
  call.shape.log_probabilities = args.boolean();
  call.shape.reduction = static_cast<Reduction>(args.size());
  args.expect(call.logits, call.shape.n * call.shape.classes);
  args.expect(call.target, call.shape.n, DType::int32);
  args.expect(call.weight, call.shape.classes);
  return call;
}

// crossEntropy(…) → [loss, lse]
Napi::Value cross_entropy(Addon& addon, Args& args) {
  const CrossEntropyCall call = read_cross_entropy(args);
  Executor& executor = addon.executor_of({call.logits, call.target, call.weight}, {});
  const auto [loss, lse] = fused_rnn::cross_entropy(executor, call);
  return addon.wrap_all({loss, lse});
}

// crossEntropyBackward(…, lse, dloss, defer) → dlogits; with `defer` they are written only if
// somebody reads them as numbers
Napi::Value cross_entropy_backward(Addon& addon, Args& args) {
  const CrossEntropyCall call = read_cross_entropy(args);
  Buffer lse = args.buffer();
  Buffer dloss = args.buffer();
  const bool defer = args.boolean();
  args.expect(lse, call.shape.n);
  args.expect(dloss, call.losses());
  Executor& executor = addon.executor_of({call.logits, call.target, lse, dloss}, {});
  return addon.wrap(fused_rnn::cross_entropy_backward(executor, call, lse, dloss, defer));
}

struct PairLossCall {
  PairLoss kind;
  Reduction reduction;
  int64_t n;
  Buffer x, t, weight, pos_weight;
  float option;
  int64_t losses() const { return reduction == Reduction::none ? n : 1; }
  int64_t cost() const {
    if (kind == PairLoss::bce_logits) return cost::scalar_functions(n);
    return kind <= PairLoss::huber ? cost::elements(n) : cost::functions(n);
  }
};

// (kind, option, reduction, length, x, t, weight, posWeight)
PairLossCall read_pair_loss(Args& args) {
  PairLossCall call;
  call.kind = static_cast<PairLoss>(args.size());
  call.option = static_cast<float>(args.number());
  call.reduction = static_cast<Reduction>(args.size());
  call.n = args.size();
  call.x = args.buffer();
  call.t = args.buffer();
  call.weight = args.optional_buffer();
  call.pos_weight = args.optional_buffer();
  for (const Buffer& buffer : {call.x, call.t, call.weight, call.pos_weight}) {
    args.expect(buffer, call.n);
  }
  return call;
}

// pairLoss(…) → loss
Napi::Value pair_loss(Addon& addon, Args& args) {
  const PairLossCall call = read_pair_loss(args);
  Buffer loss = call.x.beside(call.losses());
  addon.enqueue("loss", call.cost(), {call.x, call.t, call.weight, call.pos_weight}, {loss},
                [=](const Backend& backend, Context& context) {
                  backend.pair_loss_forward(
                      {call.kind, call.reduction, call.n, call.x.f32(), call.t.f32(),
                       call.weight.f32(), call.pos_weight.f32(), loss.f32(), call.option},
                      context);
                });
  return addon.wrap(loss);
}

// pairLossBackward(…, dloss, needsX, needsT) → [dx, dt]
Napi::Value pair_loss_backward(Addon& addon, Args& args) {
  const PairLossCall call = read_pair_loss(args);
  Buffer dloss = args.buffer();
  args.expect(dloss, call.losses());
  Buffer dx = args.boolean() ? call.x.beside(call.n) : Buffer{};
  Buffer dt = args.boolean() ? call.x.beside(call.n) : Buffer{};
  addon.enqueue(
      "loss backward", call.cost(), {call.x, call.t, call.weight, call.pos_weight, dloss}, {dx, dt},
      [=](const Backend& backend, Context& context) {
        backend.pair_loss_backward(
            {call.kind, call.reduction, call.n, call.x.f32(), call.t.f32(), call.weight.f32(),
             call.pos_weight.f32(), dloss.f32(), dx.f32(), dt.f32(), call.option},
            context);
      });
  return addon.wrap_all({dx, dt});
}

}  // namespace

void register_loss(Napi::Env env, Napi::Object exports, Addon* addon) {
  add_entry<cross_entropy>(env, exports, "crossEntropy", addon);
  add_entry<cross_entropy_backward>(env, exports, "crossEntropyBackward", addon);
  add_entry<pair_loss>(env, exports, "pairLoss", addon);
  add_entry<pair_loss_backward>(env, exports, "pairLossBackward", addon);
}

}  // namespace fused_rnn::node
