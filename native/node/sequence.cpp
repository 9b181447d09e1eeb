// Sums over all paths through sequences.
#include "node/addon.h"

namespace fused_rnn::node {
namespace {

struct CtcCall {
  CtcShape shape;
  Buffer log_probs, targets, input_lengths, target_lengths;
  int64_t cost() const {
    const int64_t states = shape.steps * 4 * (shape.total + shape.batch);
    return cost::functions(shape.steps * shape.batch * shape.classes + states);
  }
};

// (logProbs, steps, batch, classes, targets, width, inputLengths, targetLengths, blank,
// zeroInfinity)
CtcCall read_ctc(Args& args) {
  CtcCall call;
  CtcShape& shape = call.shape;
  call.log_probs = args.buffer();
  shape.steps = args.size();
  shape.batch = args.size();
  shape.classes = args.size();
  call.targets = args.buffer();
  shape.width = args.integer();
  shape.total = call.targets.length;
  call.input_lengths = args.buffer();
  call.target_lengths = args.buffer();
  shape.blank = args.size();
  shape.zero_infinity = args.boolean();
  args.expect(call.log_probs, shape.steps * shape.batch * shape.classes);
  args.expect(call.targets, shape.width < 0 ? shape.total : shape.batch * shape.width,
              DType::int32);
  args.expect(call.input_lengths, shape.batch, DType::int32);
  args.expect(call.target_lengths, shape.batch, DType::int32);
  return call;
}

// ctc(…, keep) → [loss, alpha]
Napi::Value ctc(Addon& addon, Args& args) {
  const CtcCall call = read_ctc(args);
  const Buffer& x = call.log_probs;
  Buffer loss = x.beside(call.shape.batch);
  Buffer alpha = args.boolean() ? x.beside(call.shape.alpha_floats()) : Buffer{};
  addon.enqueue(pure("ctcLoss"), call.cost(),
                {x, call.targets, call.input_lengths, call.target_lengths}, {loss, alpha},
                [=](const Backend& backend, Context& context) {
                  backend.ctc_forward({call.shape, call.log_probs.f32(), call.targets.i32(),
                                       call.input_lengths.i32(), call.target_lengths.i32(),
                                       loss.f32(), alpha.f32()},
                                      context);
                });
  return addon.wrap_all({loss, alpha});
}

// ctcBackward(…, alpha, dloss) → dlogProbs
Napi::Value ctc_backward(Addon& addon, Args& args) {
  const CtcCall call = read_ctc(args);
  const Buffer& x = call.log_probs;
  Buffer alpha = args.buffer(), dloss = args.buffer();
  args.expect(alpha, call.shape.alpha_floats());
  args.expect(dloss, call.shape.batch);
  Buffer dx = x.beside(x.length);
  addon.enqueue("ctcLoss backward", call.cost(),
                {x, call.targets, call.input_lengths, call.target_lengths, alpha, dloss}, {dx},
                [=](const Backend& backend, Context& context) {
                  backend.ctc_backward({call.shape, call.log_probs.f32(), call.targets.i32(),
                                        call.input_lengths.i32(), call.target_lengths.i32(),
                                        alpha.f32(), dloss.f32(), dx.f32()},
                                       context);
                });
  return addon.wrap(dx);
}

struct CrfCall {
  CrfShape shape;
  Buffer emissions, start, end, transitions;
  int64_t rows() const { return shape.steps * shape.batch; }
  int64_t cost() const { return cost::elements(rows() * shape.tags * (shape.tags + 8)); }
  CrfWeights weights() const { return {start.f32(), end.f32(), transitions.f32()}; }
};

// (emissions, steps, batch, tags, batchFirst, start, end, transitions)
CrfCall read_crf(Args& args) {
  CrfCall call;
  CrfShape& shape = call.shape;
  call.emissions = args.buffer();
  shape.steps = args.size();
  shape.batch = args.size();
  shape.tags = args.size();
  const bool batch_first = args.boolean();
  shape.step_stride = batch_first ? 1 : shape.batch;
  shape.batch_stride = batch_first ? shape.steps : 1;
  call.start = args.buffer();
  call.end = args.buffer();
  call.transitions = args.buffer();
  args.expect(call.emissions, call.rows() * shape.tags);
  args.expect(call.start, shape.tags);
  args.expect(call.end, shape.tags);
  args.expect(call.transitions, shape.tags * shape.tags);
  return call;
}

// crf(…, path, mask, keep) → [likelihood, lengths, alpha]
Napi::Value crf(Addon& addon, Args& args) {
  const CrfCall call = read_crf(args);
  Buffer path = args.buffer(), mask = args.optional_buffer();
  args.expect(path, call.rows(), DType::int32);
  args.expect(mask, call.rows(), DType::int32);
  const Buffer& x = call.emissions;
  Buffer likelihood = x.beside(call.shape.batch);
  Buffer lengths = x.beside(call.shape.batch, DType::int32);
  Buffer alpha = args.boolean() ? x.beside(x.length) : Buffer{};
  addon.enqueue(pure("CRF"), call.cost(), {x, call.start, call.end, call.transitions, path, mask},
                {likelihood, lengths, alpha}, [=](const Backend& backend, Context& context) {
                  backend.crf_forward({call.shape, call.weights(), call.emissions.f32(), path.i32(),
                                       mask.i32(), likelihood.f32(), lengths.i32(), alpha.f32()},
                                      context);
                });
  return addon.wrap_all({likelihood, lengths, alpha});
}

// crfBackward(…, path, lengths, alpha, dlikelihood) → [demissions, dstart, dend, dtransitions]
Napi::Value crf_backward(Addon& addon, Args& args) {
  const CrfCall call = read_crf(args);
  Buffer path = args.buffer(), lengths = args.buffer(), alpha = args.buffer();
  Buffer dlikelihood = args.buffer();
  const Buffer& x = call.emissions;
  args.expect(path, call.rows(), DType::int32);
  args.expect(lengths, call.shape.batch, DType::int32);
  args.expect(alpha, x.length);
  args.expect(dlikelihood, call.shape.batch);
  const int64_t tags = call.shape.tags;
  Buffer dx = x.beside(x.length), dstart = x.beside(tags), dend = x.beside(tags);
  Buffer dtransitions = x.beside(tags * tags);
  addon.enqueue("CRF backward", 2 * call.cost(),
                {x, call.start, call.end, call.transitions, path, lengths, alpha, dlikelihood},
                {dx, dstart, dend, dtransitions}, [=](const Backend& backend, Context& context) {
                  backend.crf_backward({call.shape, call.weights(), call.emissions.f32(),
                                        path.i32(), lengths.i32(), alpha.f32(), dlikelihood.f32(),
                                        dx.f32(), dstart.f32(), dend.f32(), dtransitions.f32()},
                                       context);
                });
  return addon.wrap_all({dx, dstart, dend, dtransitions});
}

// crfDecode(…, mask) → int32 path
Napi::Value crf_decode(Addon& addon, Args& args) {
  const CrfCall call = read_crf(args);
  Buffer mask = args.optional_buffer();
  args.expect(mask, call.rows(), DType::int32);
  Buffer path = call.emissions.beside(call.rows(), DType::int32);
  addon.enqueue(
      pure("CRF"), call.cost(), {call.emissions, call.start, call.end, call.transitions, mask},
      {path}, [=](const Backend& backend, Context& context) {
        backend.crf_decode(
            {call.shape, call.weights(), call.emissions.f32(), mask.i32(), path.i32()}, context);
      });
  return addon.wrap(path);
}

}  // namespace

void register_sequence(Napi::Env env, Napi::Object exports, Addon* addon) {
  add_entry<ctc>(env, exports, "ctc", addon);
  add_entry<ctc_backward>(env, exports, "ctcBackward", addon);
  add_entry<crf>(env, exports, "crf", addon);
  add_entry<crf_backward>(env, exports, "crfBackward", addon);
  add_entry<crf_decode>(env, exports, "crfDecode", addon);
}

}  // namespace fused_rnn::node
