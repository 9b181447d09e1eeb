// Clipping and the optimisers: all tensors in a few launches (many_tensors.h). The norm never
// leaves the device.
#include <math.h>

#include "cuda/many_tensors.h"
#include "cuda/ops.h"
#include "cuda/reduce.h"
#include "ops/update_rules.h"

namespace fused_rnn::cuda {
namespace {

// ---- The norm ---------------------------------------------------------------------------------

struct Grad {
  int64_t n;
  const float* grad;
};

// NaN when either is.
struct LargerOrNaN {
  __device__ double operator()(double a, double b) const { return b > a || b != b ? b : a; }
};
struct SmallerOrNaN {
  __device__ double operator()(double a, double b) const { return b < a || b != b ? b : a; }
};

// The p-norm.
struct Norm {
  double p;
  __device__ bool largest() const { return p == INFINITY; }
  __device__ bool smallest() const { return p == -INFINITY; }
  __device__ double none() const { return smallest() ? INFINITY : 0; }
  __device__ double term(float x) const {
    if (p == 2) return static_cast<double>(x) * static_cast<double>(x);
    return p == 1 || largest() || smallest() ? fabsf(x) : pow(static_cast<double>(fabsf(x)), p);
  }
  __device__ double combine(double a, double b) const {
    if (largest()) return LargerOrNaN{}(a, b);
    return smallest() ? SmallerOrNaN{}(a, b) : a + b;
  }
  __device__ double over_block(double x, double* scratch) const {
    if (largest()) return block_reduce(x, 0, scratch, LargerOrNaN{});
    if (smallest()) return block_reduce(x, static_cast<double>(INFINITY), scratch, SmallerOrNaN{});
    return block_reduce(x, 0, scratch, reduce::Plus{});
  }
  __device__ double finish(double total) const {
    if (p == 2) return sqrt(total);
    return p == 1 || largest() || smallest() ? total : pow(total, 1 / p);
  }
};

// parts[block] = the norm's part of one chunk
__global__ void __launch_bounds__(kBlock) norm_kernel(Tensors<Grad> all, Norm norm, double* parts) {
  FUSED_RNN_SHARED(double, scratch, kWarp);
  const auto chunk = all.chunk_of(blockIdx.x);
  const float* grad = all.tensors[chunk.tensor].grad + chunk.begin;
  const int64_t n = min(kChunk, all.tensors[chunk.tensor].n - chunk.begin);
  double sum = norm.none();
  const int64_t fours = reinterpret_cast<uintptr_t>(grad) % 16 == 0 ? n / 4 : 0;
#pragma unroll 4
  for (int64_t i = threadIdx.x; i < fours; i += kBlock) {
    const Four<float> g = reinterpret_cast<const Four<float>*>(grad)[i];
    for (int k = 0; k < 4; ++k) sum = norm.combine(sum, norm.term(g.x[k]));
  }
  for (int64_t i = 4 * fours + threadIdx.x; i < n; i += kBlock) {
    sum = norm.combine(sum, norm.term(grad[i]));
  }
  sum = norm.over_block(sum, scratch);
  if (threadIdx.x == 0) parts[blockIdx.x] = sum;
}

constexpr int kTotalThreads = 1024;
__global__ void __launch_bounds__(kTotalThreads)
    norm_total(const double* parts, int64_t n, Norm norm, float* out) {
  FUSED_RNN_SHARED(double, scratch, kWarp);
  double sum = norm.none();
  for (int64_t i = threadIdx.x; i < n; i += kTotalThreads) sum = norm.combine(sum, parts[i]);
  sum = norm.over_block(sum, scratch);
  if (threadIdx.x == 0) *out = static_cast<float>(norm.finish(sum));
}

// tensor(k): {n, grad}
template <class Tensor>
void compute_norm(CudaDevice& device, int64_t count, Tensor tensor, double p, float* out) {
  int64_t blocks = 0;
  for (int64_t k = 0; k < count; ++k) blocks += (tensor(k).n + kChunk - 1) / kChunk;
  DeviceScratch scratch(device, 2 * blocks);
  auto* parts = reinterpret_cast<double*>(scratch.data());
  const Norm norm{p};
  each_launch<Grad>(count, tensor, [&](const Tensors<Grad>& some, int64_t n, int64_t first) {
    launch(norm_kernel, dim3(static_cast<unsigned>(n)), dim3(kBlock), 0, device.stream(), some,
           norm, parts + first);
  });
  launch(norm_total, dim3(1), dim3(kTotalThreads), 0, device.stream(), parts, blocks, norm, out);
}

// ---- Clipping -----------------------------------------------------------------------------------

// The clipping as kernels get it; with its own norm computed.
struct DeviceClip {
  const float* norm;  // device memory or null
  float max_norm, max_value;
};

struct Clipper {
  float scale, max_value;
  __device__ explicit Clipper(const DeviceClip& clip) : scale(1), max_value(clip.max_value) {
    if (clip.norm == nullptr) return;
    scale = clip.max_norm / (*clip.norm + 1e-6f);
    if (scale > 1) scale = 1;
  }
  __device__ float operator()(float g) const {
    g *= scale;
    g = g > max_value ? max_value : g;
    return g < -max_value ? -max_value : g;
  }
};

// tensor(k): {n, grad}. own: device memory, [1], where clip.own_norm.
template <class Tensor>
DeviceClip make_clip(CudaDevice& device, const Clip& clip, int64_t count, Tensor tensor,
                     float* own) {
  if (clip.own_norm) compute_norm(device, count, tensor, 2, own);
  return {clip.own_norm ? own : clip.norm, clip.max_norm, clip.max_value};
}

// ---- Updates ----------------------------------------------------------------------------------

// A block for each chunk: update(tensor, i) changes one element, update.four(tensor, i) four, in
// 16 bytes at a time. Where a gradient could not be computed, nothing changes.
template <class T, class Update>
__global__ void __launch_bounds__(kBlock)
    update_kernel(Tensors<T> all, Update update, DeviceClip clip, const unsigned* fault) {
  if (*fault != 0) return;
  const auto chunk = all.chunk_of(blockIdx.x);
  const T t = all.tensors[chunk.tensor].from(chunk.begin);
  const int64_t n = min(kChunk, t.n);
  const Clipper clipper(clip);
  const int64_t fours = t.aligned() ? n / 4 : 0;
  for (int64_t i = threadIdx.x; i < fours; i += kBlock) {
    update.template apply<Four<float>>(t, clipper, i);
  }
  for (int64_t i = 4 * fours + threadIdx.x; i < n; i += kBlock) {
    update.template apply<float>(t, clipper, i);
  }
}

template <class T, class Tensor, class Update>
void update_all(CudaDevice& device, int64_t count, Tensor tensor, Update update,
                const DeviceClip& clip) {
  each_launch<T>(count, tensor, [&](const Tensors<T>& some, int64_t blocks, int64_t) {
    launch(update_kernel<T, Update>, dim3(static_cast<unsigned>(blocks)), dim3(kBlock), 0,
           device.stream(), some, update, clip, device.fault_flag());
  });
}

// One float, or four.
template <class V>
struct Lanes {
  static constexpr int kCount = sizeof(V) / sizeof(float);
  float x[kCount];
  __device__ static Lanes load(const float* from, int64_t i) {
    Lanes lanes;
    const V v = reinterpret_cast<const V*>(from)[i];
    memcpy(lanes.x, &v, sizeof v);
    return lanes;
  }
  __device__ void store(float* to, int64_t i) const {
    V v;
    memcpy(&v, x, sizeof v);
    reinterpret_cast<V*>(to)[i] = v;
  }
};

__device__ bool four_at(const void* pointer) {
  return reinterpret_cast<uintptr_t>(pointer) % 16 == 0;
}

struct ClipTensor {
  int64_t n;
  float* grad;
  __device__ ClipTensor from(int64_t i) const { return {n - i, grad + i}; }
  __device__ bool aligned() const { return four_at(grad); }
};
struct ClipUpdate {
  template <class V>
  __device__ void apply(const ClipTensor& t, const Clipper& clip, int64_t i) const {
    auto g = Lanes<V>::load(t.grad, i);
    for (float& x : g.x) x = clip(x);
    g.store(t.grad, i);
  }
};

struct SgdDevice {
  int64_t n;
  float* param;
  const float* grad;
  float* buffer;  // or null
  bool first;
  __device__ SgdDevice from(int64_t i) const {
    return {n - i, param + i, grad + i, buffer == nullptr ? buffer : buffer + i, first};
  }
  __device__ bool aligned() const { return four_at(param) && four_at(grad) && four_at(buffer); }
};
struct SgdUpdate {
  float lr, momentum, fresh, weight_decay, sign;
  bool nesterov;
  template <class V>
  __device__ void apply(const SgdDevice& t, const Clipper& clip, int64_t i) const {
    auto p = Lanes<V>::load(t.param, i);
    auto g = Lanes<V>::load(t.grad, i);
    constexpr int kCount = Lanes<V>::kCount;
    for (int k = 0; k < kCount; ++k) g.x[k] = sign * clip(g.x[k]) + weight_decay * p.x[k];
    if (t.buffer == nullptr) {
      for (int k = 0; k < kCount; ++k) p.x[k] -= lr * g.x[k];
      return p.store(t.param, i);
    }
    const float keep = t.first ? 0 : momentum, add = t.first ? 1 : fresh;
    const float own = nesterov ? 1 : 0, past = nesterov ? momentum : 1;
    // On the first step the buffer may hold anything.
    auto b = t.first ? Lanes<V>{} : Lanes<V>::load(t.buffer, i);
    for (int k = 0; k < kCount; ++k) {
      b.x[k] = keep * b.x[k] + add * g.x[k];
      p.x[k] -= lr * (own * g.x[k] + past * b.x[k]);
    }
    b.store(t.buffer, i);
    p.store(t.param, i);
  }
};

struct AdamDevice {
  int64_t n;
  float* param;
  const float* grad;
  float *m, *v, *v_max;
  float step_size, v_scale;
  __device__ AdamDevice from(int64_t i) const {
    return {n - i,     param + i, grad + i, m + i, v + i, v_max == nullptr ? v_max : v_max + i,
            step_size, v_scale};
  }
  __device__ bool aligned() const {
    return four_at(param) && four_at(grad) && four_at(m) && four_at(v) && four_at(v_max);
  }
};
struct AdamUpdate {
  float one_minus_beta1, beta2, one_minus_beta2, eps, weight_decay, shrink, sign;
  template <class V>
  __device__ void apply(const AdamDevice& t, const Clipper& clip, int64_t i) const {
    auto p = Lanes<V>::load(t.param, i);
    auto m = Lanes<V>::load(t.m, i), v = Lanes<V>::load(t.v, i);
    const auto grad = Lanes<V>::load(t.grad, i);
    constexpr int kCount = Lanes<V>::kCount;
    for (int k = 0; k < kCount; ++k) {
      const float g = sign * clip(grad.x[k]) + weight_decay * p.x[k];
      m.x[k] = m.x[k] + one_minus_beta1 * (g - m.x[k]);
      v.x[k] = beta2 * v.x[k] + one_minus_beta2 * g * g;
    }
    m.store(t.m, i);
    v.store(t.v, i);
    if (t.v_max != nullptr) {
      const auto largest = Lanes<V>::load(t.v_max, i);
      for (int k = 0; k < kCount; ++k) v.x[k] = largest.x[k] > v.x[k] ? largest.x[k] : v.x[k];
      v.store(t.v_max, i);
    }
    for (int k = 0; k < kCount; ++k) {
      p.x[k] = shrink * p.x[k] - t.step_size * m.x[k] / (sqrtf(v.x[k]) * t.v_scale + eps);
    }
    p.store(t.param, i);
  }
};

// kStates, or 1 for none: an array has at least one element.
template <int kStates>
struct RuleDevice {
  int64_t n;
  float* param;
  const float* grad;
  float* state[kStates > 0 ? kStates : 1];
  float numbers[kMostUpdateNumbers];
  __device__ RuleDevice from(int64_t i) const {
    RuleDevice t = *this;
    t.n -= i;
    t.param += i;
    t.grad += i;
    for (int j = 0; j < kStates; ++j) t.state[j] += i;
    return t;
  }
  __device__ bool aligned() const {
    bool all = four_at(param) && four_at(grad);
    for (int j = 0; j < kStates; ++j) all = all && four_at(state[j]);
    return all;
  }
};
template <class Rule>
struct RuleUpdate {
  float options[kUpdateOptions];
  float weight_decay, shrink, sign;
  template <class V>
  __device__ void apply(const RuleDevice<Rule::kStates>& t, const Clipper& clip, int64_t i) const {
    const Rule rule(options, t.numbers);
    auto p = Lanes<V>::load(t.param, i);
    const auto grad = Lanes<V>::load(t.grad, i);
    constexpr int kRoom = Rule::kStates > 0 ? Rule::kStates : 1;
    Lanes<V> state[kRoom];
    for (int j = 0; j < Rule::kStates; ++j) state[j] = Lanes<V>::load(t.state[j], i);
    for (int k = 0; k < Lanes<V>::kCount; ++k) {
      float s[kRoom];
      for (int j = 0; j < Rule::kStates; ++j) s[j] = state[j].x[k];
      const float g = sign * clip(grad.x[k]) + weight_decay * p.x[k];
      p.x[k] *= shrink;
      rule(p.x[k], g, s);
      for (int j = 0; j < Rule::kStates; ++j) state[j].x[k] = s[j];
    }
    for (int j = 0; j < Rule::kStates; ++j) state[j].store(t.state[j], i);
    p.store(t.param, i);
  }
};

// The same for one element of a gradient of some rows.
template <class Rule>
struct RowsUpdate {
  UpdateTensor t;
  RuleUpdate<Rule> update;
  DeviceClip clip;
  const unsigned* fault;
  bool small;
  __device__ void operator()(int64_t i) const {
    if (*fault != 0) return;
    const Divided at = divide(i, t.width, small);
    const int64_t row = t.rows[at.quotient];
    if (row < 0 || row >= t.height) return;
    const int64_t to = row * t.width + at.rest;
    RuleDevice<Rule::kStates> one{1, t.param + to, t.grad + i, {}, {}};
    for (int j = 0; j < Rule::kStates; ++j) one.state[j] = t.state[j] + to;
    memcpy(one.numbers, t.numbers, sizeof one.numbers);
    update.template apply<float>(one, Clipper(clip), 0);
  }
};

template <class Rule>
void update_by(const UpdateArgs& args, CudaDevice& device, const DeviceClip& clip) {
  RuleUpdate<Rule> update{{}, args.weight_decay, args.shrink, args.maximize ? -1.f : 1.f};
  memcpy(update.options, args.options, sizeof update.options);
  if (args.count > 0 && args.tensors[0].rows != nullptr) {
    for (int64_t k = 0; k < args.count; ++k) {
      const UpdateTensor& t = args.tensors[k];
      if (t.n == 0) continue;
      each(device, t.n, RowsUpdate<Rule>{t, update, clip, device.fault_flag(), small_numbers(t.n)});
    }
    return;
  }
  const auto tensor = [&](int64_t k) {
    const UpdateTensor& t = args.tensors[k];
    RuleDevice<Rule::kStates> on_device{t.n, t.param, t.grad, {}, {}};
    memcpy(on_device.state, t.state, sizeof on_device.state);
    memcpy(on_device.numbers, t.numbers, sizeof on_device.numbers);
    return on_device;
  };
  update_all<RuleDevice<Rule::kStates>>(device, args.count, tensor, update, clip);
}

}  // namespace

void grad_norm(const GradNormArgs& args, Context& context) {
  compute_norm(
      device_of(context), args.count, [&](int64_t k) { return Grad{args.sizes[k], args.grads[k]}; },
      args.p, args.norm);
}

void clip_grads(const ClipGradsArgs& args, Context& context) {
  CudaDevice& device = device_of(context);
  DeviceScratch own(device, 1);
  const auto grad = [&](int64_t k) { return Grad{args.sizes[k], args.grads[k]}; };
  const DeviceClip clip = make_clip(device, args.clip, args.count, grad, own.data());
  const auto tensor = [&](int64_t k) { return ClipTensor{args.sizes[k], args.grads[k]}; };
  update_all<ClipTensor>(device, args.count, tensor, ClipUpdate{}, clip);
}

void sgd(const SgdArgs& args, Context& context) {
  CudaDevice& device = device_of(context);
  DeviceScratch own(device, 1);
  const auto grad = [&](int64_t k) { return Grad{args.tensors[k].n, args.tensors[k].grad}; };
  const DeviceClip clip = make_clip(device, args.clip, args.count, grad, own.data());
  const SgdUpdate update{args.lr,
                         args.momentum,
                         1 - args.dampening,
                         args.weight_decay,
                         args.maximize ? -1.f : 1.f,
                         args.nesterov};
  const auto tensor = [&](int64_t k) {
    const SgdTensor& t = args.tensors[k];
    return SgdDevice{t.n, t.param, t.grad, t.buffer, t.first};
  };
  update_all<SgdDevice>(device, args.count, tensor, update, clip);
}

void adam(const AdamArgs& args, Context& context) {
  CudaDevice& device = device_of(context);
  DeviceScratch own(device, 1);
  const auto grad = [&](int64_t k) { return Grad{args.tensors[k].n, args.tensors[k].grad}; };
  const DeviceClip clip = make_clip(device, args.clip, args.count, grad, own.data());
  const AdamUpdate update{args.one_minus_beta1, args.beta2,  args.one_minus_beta2,      args.eps,
                          args.weight_decay,    args.shrink, args.maximize ? -1.f : 1.f};
  const auto tensor = [&](int64_t k) {
    const AdamTensor& t = args.tensors[k];
    return AdamDevice{t.n, t.param, t.grad, t.m, t.v, t.v_max, t.step_size, t.v_scale};
  };
  update_all<AdamDevice>(device, args.count, tensor, update, clip);
}

void optimizer_step(const UpdateArgs& args, Context& context) {
  CudaDevice& device = device_of(context);
  DeviceScratch own(device, 1);
  const auto grad = [&](int64_t k) { return Grad{args.tensors[k].n, args.tensors[k].grad}; };
  const DeviceClip clip = make_clip(device, args.clip, args.count, grad, own.data());
  with_rule(args.rule, [&]<class Rule>() { update_by<Rule>(args, device, clip); });
}

}  // namespace fused_rnn::cuda
