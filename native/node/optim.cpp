// Clipping and optimisers. They change parameters and state in place; when a gradient could not be
// computed because of an earlier error, the step is left out and they keep their values, which is
// why nothing here is listed among the writes that an error poisons.
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

// As many tensors as `like`, of the same lengths; or none, when that is allowed.
std::vector<Buffer> read_matching(Args& args, const std::vector<Buffer>& like, bool or_none) {
  std::vector<Buffer> tensors = read_tensors(args);
  if (or_none && tensors.empty()) return tensors;
  if (tensors.size() != like.size()) {
    throw Napi::TypeError::New(args.env(), "internal: lists of tensors differ in length");
  }
  for (size_t i = 0; i < like.size(); ++i) args.expect(tensors[i], like[i].length);
  return tensors;
}

std::vector<double> read_numbers(Args& args, size_t count) {
  std::vector<double> numbers = args.numbers();
  if (numbers.size() != count) {
    throw Napi::TypeError::New(args.env(), "internal: lists of numbers differ in length");
  }
  return numbers;
}

struct ClipCall {
  Buffer norm;
  float max_norm;
  float max_value;
  Clip get() const { return {norm.f32(), max_norm, max_value}; }
};

ClipCall read_clip(Args& args) {
  ClipCall clip;
  clip.norm = args.optional_buffer();
  clip.max_norm = static_cast<float>(args.number());
  clip.max_value = static_cast<float>(args.number());
  args.expect(clip.norm, 1);
  return clip;
}

void append(std::vector<Buffer>& all, const std::vector<Buffer>& more) {
  all.insert(all.end(), more.begin(), more.end());
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

// gradNorm(grads, infinity) → buffer [1]
Napi::Value grad_norm(Addon& addon, Args& args) {
  const std::vector<Buffer> grads = read_tensors(args);
  const bool infinity = args.boolean();
  Buffer norm = Buffer::make(1);
  addon.enqueue("gradNorm", cost_of(grads), grads, {norm},
                [=](const Backend& backend, Context& context) {
                  const auto sizes = sizes_of(grads);
                  const auto pointers = pointers_of(grads);
                  backend.grad_norm({static_cast<int64_t>(grads.size()), pointers.data(),
                                     sizes.data(), infinity, norm.f32()},
                                    context);
                });
  return addon.wrap(norm);
}

// clipGrads(grads, norm, maxNorm, maxValue)
Napi::Value clip_grads(Addon& addon, Args& args) {
  const std::vector<Buffer> grads = read_tensors(args);
  const ClipCall clip = read_clip(args);
  std::vector<Buffer> reads = grads;
  reads.push_back(clip.norm);
  addon.enqueue(
      "clipGrads", cost_of(grads), reads, {}, [=](const Backend& backend, Context& context) {
        const auto sizes = sizes_of(grads);
        const auto pointers = pointers_of(grads);
        backend.clip_grads(
            {static_cast<int64_t>(grads.size()), pointers.data(), sizes.data(), clip.get()},
            context);
      });
  return args.env().Undefined();
}

// sgd(params, grads, buffers or [], first, norm, maxNorm, maxValue, lr, momentum, dampening,
//     weightDecay, nesterov, maximize)
Napi::Value sgd(Addon& addon, Args& args) {
  const std::vector<Buffer> params = read_tensors(args);
  const std::vector<Buffer> grads = read_matching(args, params, false);
  const std::vector<Buffer> buffers = read_matching(args, params, true);
  const std::vector<double> first = read_numbers(args, params.size());
  const ClipCall clip = read_clip(args);
  SgdArgs call{};
  call.count = static_cast<int64_t>(params.size());
  call.lr = static_cast<float>(args.number());
  call.momentum = static_cast<float>(args.number());
  call.dampening = static_cast<float>(args.number());
  call.weight_decay = static_cast<float>(args.number());
  call.nesterov = args.boolean();
  call.maximize = args.boolean();
  std::vector<Buffer> reads = params;
  append(reads, grads);
  append(reads, buffers);
  reads.push_back(clip.norm);
  addon.enqueue(
      "SGD", cost_of(params), reads, {}, [=](const Backend& backend, Context& context) mutable {
        std::vector<SgdTensor> tensors;
        for (size_t i = 0; i < params.size(); ++i) {
          tensors.push_back({params[i].length, params[i].f32(), grads[i].f32(),
                             buffers.empty() ? nullptr : buffers[i].f32(), first[i] != 0});
        }
        call.tensors = tensors.data();
        call.clip = clip.get();
        backend.sgd(call, context);
      });
  return args.env().Undefined();
}

// adam(params, grads, means, squares, largest or [], stepSizes, squareScales, norm, maxNorm,
//      maxValue, beta1, beta2, eps, weightDecay, shrink, maximize)
Napi::Value adam(Addon& addon, Args& args) {
  const std::vector<Buffer> params = read_tensors(args);
  const std::vector<Buffer> grads = read_matching(args, params, false);
  const std::vector<Buffer> means = read_matching(args, params, false);
  const std::vector<Buffer> squares = read_matching(args, params, false);
  const std::vector<Buffer> largest = read_matching(args, params, true);
  const std::vector<double> step_sizes = read_numbers(args, params.size());
  const std::vector<double> square_scales = read_numbers(args, params.size());
  const ClipCall clip = read_clip(args);
  AdamArgs call{};
  call.count = static_cast<int64_t>(params.size());
  call.one_minus_beta1 = static_cast<float>(1 - args.number());
  const double beta2 = args.number();
  call.beta2 = static_cast<float>(beta2);
  call.one_minus_beta2 = static_cast<float>(1 - beta2);
  call.eps = static_cast<float>(args.number());
  call.weight_decay = static_cast<float>(args.number());
  call.shrink = static_cast<float>(args.number());
  call.maximize = args.boolean();
  std::vector<Buffer> reads = params;
  for (const auto* tensors : {&grads, &means, &squares, &largest}) append(reads, *tensors);
  reads.push_back(clip.norm);
  addon.enqueue("Adam", 2 * cost_of(params), reads, {},
                [=](const Backend& backend, Context& context) mutable {
                  std::vector<AdamTensor> tensors;
                  for (size_t i = 0; i < params.size(); ++i) {
                    tensors.push_back(
                        {params[i].length, params[i].f32(), grads[i].f32(), means[i].f32(),
                         squares[i].f32(), largest.empty() ? nullptr : largest[i].f32(),
                         static_cast<float>(step_sizes[i]), static_cast<float>(square_scales[i])});
                  }
                  call.tensors = tensors.data();
                  call.clip = clip.get();
                  backend.adam(call, context);
                });
  return args.env().Undefined();
}

}  // namespace

void register_optim(Napi::Env env, Napi::Object exports, Addon* addon) {
  add_entry<grad_norm>(env, exports, "gradNorm", addon);
  add_entry<clip_grads>(env, exports, "clipGrads", addon);
  add_entry<sgd>(env, exports, "sgd", addon);
  add_entry<adam>(env, exports, "adam", addon);
}

}  // namespace fused_rnn::node
