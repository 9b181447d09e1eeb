// Clipping and optimisers. They change parameters and state in place; when a gradient could not
// be computed because of an earlier error, the step is left out and they keep their values, which
// is why nothing here is listed among the writes that an error poisons.
#include "node/addon.h"

namespace fused_rnn::node {
namespace {

std::vector<Buffer> read_tensors(Args& args) {
  std::vector<Buffer> tensors = args.buffers();
  for (const Buffer& tensor : tensors) {
    if (!tensor) throw Napi::TypeError::New(args.env(), "internal: a tensor is missing");
    args.expect(tensor, tensor.length);
  }
  return tensors;
}

struct ClipCall {
  Buffer norm;
  float max_norm;
  float max_value;

  // Of an optimiser: without a norm from outside, it scales by that of its own gradients.
  Clip with_own_norm() const { return {norm.f32(), !norm && max_norm >= 0, max_norm, max_value}; }
};

ClipCall read_clip(Args& args) {
  ClipCall clip;
  clip.norm = args.optional_buffer();
  clip.max_norm = static_cast<float>(args.number());
  clip.max_value = static_cast<float>(args.number());
  args.expect(clip.norm, 1);
  return clip;
}

std::vector<int64_t> sizes_of(const std::vector<Buffer>& tensors) {
  std::vector<int64_t> sizes;
  for (const Buffer& tensor : tensors) sizes.push_back(tensor.length);
  return sizes;
}

// Of a pass over all tensors.
int64_t cost_of(const std::vector<Buffer>& tensors) {
  int64_t elements = 0;
  for (const Buffer& tensor : tensors) elements += tensor.length;
  return cost::elements(elements);
}

std::vector<float*> pointers_of(const std::vector<Buffer>& tensors) {
  std::vector<float*> pointers;
  for (const Buffer& tensor : tensors) pointers.push_back(tensor.f32());
  return pointers;
}

// gradNorm(grads, p) → buffer [1]
Napi::Value grad_norm(Addon& addon, Args& args) {
  const std::vector<Buffer> grads = read_tensors(args);
  const double p = args.number();
  Buffer norm = grads.empty() ? Buffer::make(1) : grads[0].beside(1);
  const bool power = p != 1 && p != 2 && std::isfinite(p);
  addon.enqueue("gradNorm", cost_of(grads) * (power ? 8 : 1), grads, {norm},
                [=](const Backend& backend, Context& context) {
                  const auto sizes = sizes_of(grads);
                  const auto pointers = pointers_of(grads);
                  backend.grad_norm({static_cast<int64_t>(grads.size()), pointers.data(),
                                     sizes.data(), p, norm.f32()},
                                    context);
                });
  return addon.wrap(norm);
}

// checkFinite(number, loss, grads), any of which may be null: a value that is not finite is an
// error, and the gradients count as not computed.
Napi::Value check_finite(Addon& addon, Args& args) {
  const int64_t number = args.integer();
  const Buffer loss = args.optional_buffer();
  std::vector<Buffer> grads = args.buffers();
  std::vector<Buffer> all = {loss};
  all.insert(all.end(), grads.begin(), grads.end());
  for (const Buffer& tensor : all) {
    if (tensor) args.expect(tensor, tensor.length);
  }
  addon.enqueue(
      "checkFinite", cost_of(all), all, grads, [=](const Backend& backend, Context& context) {
        const auto sizes = sizes_of(all);
        const auto pointers = pointers_of(all);
        backend.check_finite(
            {static_cast<int64_t>(all.size()), pointers.data(), sizes.data(), number}, context);
      });
  return args.env().Undefined();
}

// clipGrads(grads, norm, maxNorm, maxValue)
Napi::Value clip_grads(Addon& addon, Args& args) {
  const std::vector<Buffer> grads = read_tensors(args);
  const ClipCall clip = read_clip(args);
  std::vector<Buffer> reads = grads;
  reads.push_back(clip.norm);
  addon.enqueue("clipGrads", cost_of(grads), reads, {},
                [=](const Backend& backend, Context& context) {
                  const auto sizes = sizes_of(grads);
                  const auto pointers = pointers_of(grads);
                  backend.clip_grads({static_cast<int64_t>(grads.size()),
                                      pointers.data(),
                                      sizes.data(),
                                      {clip.norm.f32(), false, clip.max_norm, clip.max_value}},
                                     context);
                });
  return args.env().Undefined();
}

// What the optimisers have in common: clipping and `lists` lists of as many tensors each, the
// parameters and their gradients first.
struct UpdateCall {
  ClipCall clip;
  size_t count = 0;
  std::vector<Buffer> tensors;  // list after list

  const Buffer& at(size_t list, size_t i) const { return tensors[list * count + i]; }

  void read_tensors(Args& args, size_t lists) {
    count = static_cast<size_t>(args.size());
    tensors = args.tensors(lists * count);
    for (size_t k = 0; k < tensors.size(); ++k) args.expect(tensors[k], tensors[k % count].length);
  }

  std::vector<Buffer> reads() const {
    std::vector<Buffer> reads = tensors;
    reads.push_back(clip.norm);
    return reads;
  }

  int64_t cost() const { return cost_of(tensors); }
};

// sgd(norm, maxNorm, maxValue, lr, momentum, dampening, weightDecay, nesterov, maximize, count,
//     …params, …grads, …buffers if momentum, …first if momentum)
Napi::Value sgd(Addon& addon, Args& args) {
  UpdateCall update;
  update.clip = read_clip(args);
  SgdArgs call{};
  call.lr = static_cast<float>(args.number());
  const double factor = args.number();
  const bool momentum = factor != 0;
  call.momentum = static_cast<float>(factor);
  call.dampening = static_cast<float>(args.number());
  call.weight_decay = static_cast<float>(args.number());
  call.nesterov = args.boolean();
  call.maximize = args.boolean();
  update.read_tensors(args, momentum ? 3 : 2);
  call.count = static_cast<int64_t>(update.count);
  std::vector<bool> first(update.count);
  for (size_t i = 0; momentum && i < first.size(); ++i) first[i] = args.boolean();
  addon.enqueue("SGD", update.cost(), update.reads(), {},
                [=](const Backend& backend, Context& context) mutable {
                  std::vector<SgdTensor> tensors(update.count);
                  for (size_t i = 0; i < tensors.size(); ++i) {
                    tensors[i] = {update.at(0, i).length, update.at(0, i).f32(),
                                  update.at(1, i).f32(), momentum ? update.at(2, i).f32() : nullptr,
                                  first[i]};
                  }
                  call.tensors = tensors.data();
                  call.clip = update.clip.with_own_norm();
                  backend.sgd(call, context);
                });
  return args.env().Undefined();
}

// adam(norm, maxNorm, maxValue, beta1, beta2, eps, weightDecay, shrink, maximize, amsgrad, count,
//      …params, …grads, …means, …squares, …largest if amsgrad, …stepSizes, …squareScales)
Napi::Value adam(Addon& addon, Args& args) {
  UpdateCall update;
  update.clip = read_clip(args);
  AdamArgs call{};
  call.one_minus_beta1 = static_cast<float>(1 - args.number());
  const double beta2 = args.number();
  call.beta2 = static_cast<float>(beta2);
  call.one_minus_beta2 = static_cast<float>(1 - beta2);
  call.eps = static_cast<float>(args.number());
  call.weight_decay = static_cast<float>(args.number());
  call.shrink = static_cast<float>(args.number());
  call.maximize = args.boolean();
  const bool amsgrad = args.boolean();
  update.read_tensors(args, amsgrad ? 5 : 4);
  call.count = static_cast<int64_t>(update.count);
  const std::vector<double> step_sizes = args.numbers(update.count);
  const std::vector<double> square_scales = args.numbers(update.count);
  addon.enqueue("Adam", update.cost(), update.reads(), {},
                [=](const Backend& backend, Context& context) mutable {
                  std::vector<AdamTensor> tensors(update.count);
                  for (size_t i = 0; i < tensors.size(); ++i) {
                    tensors[i] = {update.at(0, i).length,
                                  update.at(0, i).f32(),
                                  update.at(1, i).f32(),
                                  update.at(2, i).f32(),
                                  update.at(3, i).f32(),
                                  amsgrad ? update.at(4, i).f32() : nullptr,
                                  static_cast<float>(step_sizes[i]),
                                  static_cast<float>(square_scales[i])};
                  }
                  call.tensors = tensors.data();
                  call.clip = update.clip.with_own_norm();
                  backend.adam(call, context);
                });
  return args.env().Undefined();
}

// optimizerStep(norm, maxNorm, maxValue, rule, weightDecay, shrink, maximize, …options,
//               states, numbers, count, …params, …grads, …state of each kind, …numbers of each kind)
Napi::Value optimizer_step(Addon& addon, Args& args) {
  UpdateCall update;
  update.clip = read_clip(args);
  UpdateArgs call{};
  const int64_t rule = args.size();
  if (rule >= kUpdateRuleCount)
    throw Napi::RangeError::New(args.env(), "internal: no such optimiser");
  call.rule = static_cast<UpdateRule>(rule);
  call.weight_decay = static_cast<float>(args.number());
  call.shrink = static_cast<float>(args.number());
  call.maximize = args.boolean();
  for (float& option : call.options) option = static_cast<float>(args.number());
  const auto states = static_cast<size_t>(args.size());
  const auto numbers = static_cast<size_t>(args.size());
  if (states != static_cast<size_t>(states_of(call.rule)) || numbers > kMostUpdateNumbers)
    throw Napi::RangeError::New(args.env(), "internal: wrong number of lists");
  update.read_tensors(args, 2 + states);
  call.count = static_cast<int64_t>(update.count);
  const std::vector<double> by_tensor = args.numbers(numbers * update.count);
  addon.enqueue(kUpdateRules[rule].name, update.cost(), update.reads(), {},
                [=](const Backend& backend, Context& context) mutable {
                  std::vector<UpdateTensor> tensors(update.count);
                  for (size_t i = 0; i < tensors.size(); ++i) {
                    UpdateTensor& t = tensors[i];
                    t.n = update.at(0, i).length;
                    t.param = update.at(0, i).f32();
                    t.grad = update.at(1, i).f32();
                    for (size_t j = 0; j < states; ++j) t.state[j] = update.at(2 + j, i).f32();
                    for (size_t j = 0; j < numbers; ++j)
                      t.numbers[j] = static_cast<float>(by_tensor[j * update.count + i]);
                  }
                  call.tensors = tensors.data();
                  call.clip = update.clip.with_own_norm();
                  backend.optimizer_step(call, context);
                });
  return args.env().Undefined();
}

// sparseStep(norm, maxNorm, maxValue, rule, maximize, …options, states, numbers, count, …params,
//            …state of each kind, …gradients' rows, …their values, …numbers of each kind)
Napi::Value sparse_step(Addon& addon, Args& args) {
  const ClipCall clip = read_clip(args);
  UpdateArgs call{};
  const int64_t rule = args.size();
  if (rule >= kUpdateRuleCount)
    throw Napi::RangeError::New(args.env(), "internal: no such optimiser");
  call.rule = static_cast<UpdateRule>(rule);
  call.shrink = 1;
  call.maximize = args.boolean();
  for (float& option : call.options) option = static_cast<float>(args.number());
  const auto states = static_cast<size_t>(args.size());
  const auto numbers = static_cast<size_t>(args.size());
  const auto count = static_cast<size_t>(args.size());
  if (states != static_cast<size_t>(states_of(call.rule)) || numbers > kMostUpdateNumbers)
    throw Napi::RangeError::New(args.env(), "internal: wrong number of lists");
  const std::vector<Buffer> tables = args.tensors((1 + states) * count);
  std::vector<Buffer> rows(count), values(count), reads = tables;
  for (Buffer& one : rows) one = args.buffer();
  for (Buffer& one : values) one = args.buffer();
  int64_t elements = 0;
  for (size_t k = 0; k < tables.size(); ++k) args.expect(tables[k], tables[k % count].length);
  for (size_t i = 0; i < count; ++i) {
    const int64_t n = rows[i].length, width = n == 0 ? 1 : values[i].length / n;
    args.expect(rows[i], n, DType::int32);
    args.expect(values[i], n * width);
    if (width == 0 || tables[i].length % width != 0)
      throw Napi::RangeError::New(args.env(), "internal: rows of another width");
    elements += values[i].length;
    reads.push_back(rows[i]);
    reads.push_back(values[i]);
  }
  reads.push_back(clip.norm);
  const std::vector<double> by_tensor = args.numbers(numbers * count);
  call.count = static_cast<int64_t>(count);
  addon.enqueue(kUpdateRules[rule].name,
                cost::elements((2 + static_cast<int64_t>(states)) * elements), reads, {},
                [=](const Backend& backend, Context& context) mutable {
                  std::vector<UpdateTensor> tensors(count);
                  for (size_t i = 0; i < count; ++i) {
                    UpdateTensor& t = tensors[i];
                    t.n = values[i].length;
                    t.param = tables[i].f32();
                    t.grad = values[i].f32();
                    t.rows = rows[i].i32();
                    t.width = rows[i].length == 0 ? 1 : t.n / rows[i].length;
                    t.height = tables[i].length / t.width;
                    for (size_t j = 0; j < states; ++j)
                      t.state[j] = tables[(1 + j) * count + i].f32();
                    for (size_t j = 0; j < numbers; ++j)
                      t.numbers[j] = static_cast<float>(by_tensor[j * count + i]);
                  }
                  call.tensors = tensors.data();
                  call.clip = clip.with_own_norm();
                  backend.optimizer_step(call, context);
                });
  return args.env().Undefined();
}

}  // namespace

void register_optim(Napi::Env env, Napi::Object exports, Addon* addon) {
  add_entry<grad_norm>(env, exports, "gradNorm", addon);
  add_entry<check_finite>(env, exports, "checkFinite", addon);
  add_entry<clip_grads>(env, exports, "clipGrads", addon);
  add_entry<sgd>(env, exports, "sgd", addon);
  add_entry<adam>(env, exports, "adam", addon);
  add_entry<optimizer_step>(env, exports, "optimizerStep", addon);
  add_entry<sparse_step>(env, exports, "sparseStep", addon);
}

}  // namespace fused_rnn::node
