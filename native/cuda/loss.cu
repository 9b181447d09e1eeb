// Losses: each in one pass forward and one backward. The number of rows that a mean is over is
// counted on the device.
#include "core/empty_mean.h"
#include "cuda/elements.h"
#include "cuda/indices.h"
#include "cuda/loss.h"
#include "cuda/ops.h"
#include "cuda/reduce.h"
#include "ops/pair_losses.h"

namespace fused_rnn::cuda {
namespace {

// ---- Cross entropy ----------------------------------------------------------------------------

// A group of threads (reduce.h) for each row.
template <class Group>
__global__ void __launch_bounds__(kBlock)
    cross_entropy_rows(CrossEntropyShape shape, const float* logits, const int32_t* target,
                       const float* weight, float* losses, float* lse_out) {
  FUSED_RNN_SHARED(float, floats, kWarp);
  FUSED_RNN_SHARED(double, doubles, kWarp);
  for (int64_t i = Group::first_row(); i < shape.n; i += Group::step()) {
    const float* x = logits + i * shape.classes;
    const int64_t t = target[i];
    const bool first = Group::rank() == 0;
    if (t == shape.ignore_index || t < 0 || t >= shape.classes) {
      if (first) losses[i] = lse_out[i] = 0;
      continue;
    }
    float lse = 0;
    if (!shape.log_probabilities) {
      float max = kMinusInfinity;
      for (int64_t c = Group::rank(); c < shape.classes; c += Group::kThreads) {
        max = x[c] > max ? x[c] : max;
      }
      max = Group::reduce(max, kMinusInfinity, floats, reduce::Larger{});
      double sum = 0;
      for (int64_t c = Group::rank(); c < shape.classes; c += Group::kThreads) {
        sum += exp_(x[c] - max);
      }
      lse = max + log_(static_cast<float>(Group::sum(sum, doubles)));
    }
    float loss = lse - x[t];
    if (weight != nullptr) loss *= weight[t];
    if (shape.label_smoothing > 0) {
      double sum = 0, all = 0;
      for (int64_t c = Group::rank(); c < shape.classes; c += Group::kThreads) {
        sum += weight != nullptr ? x[c] * weight[c] : x[c];
        all += weight != nullptr ? weight[c] : 1;
      }
      sum = Group::sum(sum, doubles);
      all = Group::sum(all, doubles);
      const auto uniform =
          static_cast<float>((all * lse - sum) / static_cast<double>(shape.classes));
      loss += shape.label_smoothing * (uniform - loss);
    }
    if (first) {
      losses[i] = loss;
      lse_out[i] = lse;
    }
  }
}

// What a row of this target adds to what the mean is over.
__device__ double counted(const CrossEntropyShape& shape, const float* weight, int64_t target) {
  if (target == shape.ignore_index) return 0;
  if (weight == nullptr) return 1;
  return target < 0 || target >= shape.classes ? 0 : weight[target];
}

// One block: checks the targets, and unless there is a loss for each row adds the rows' losses up.
constexpr int kTotalThreads = 1024;
__global__ void __launch_bounds__(kTotalThreads)
    cross_entropy_total(CrossEntropyShape shape, const int32_t* target, const float* weight,
                        const float* losses, float* loss, FaultSite site) {
  FUSED_RNN_SHARED(int64_t, indices, kWarp);
  FUSED_RNN_SHARED(double, doubles, kWarp);
  check_indices({target, shape.n, 0, shape.classes, shape.ignore_index}, site, indices);
  if (shape.reduction == Reduction::none) return;
  double total = 0, count = 0;
  for (int64_t i = threadIdx.x; i < shape.n; i += blockDim.x) {
    total += losses[i];
    count += counted(shape, weight, target[i]);
  }
  total = block_reduce(total, 0, doubles, reduce::Plus{});
  count = block_reduce(count, 0, doubles, reduce::Plus{});
  if (threadIdx.x > 0) return;
  *loss = mean_of(total, shape.reduction == Reduction::mean ? count : 1);
}

struct Counts {
  CrossEntropyShape shape;
  const int32_t* target;
  const float* weight;
  __device__ double operator()(int64_t, int64_t i) const {
    return counted(shape, weight, target[i]);
  }
};
struct Weights {
  const float* weight;
  __device__ double operator()(int64_t, int64_t i) const { return weight[i]; }
};
struct WriteTotal {
  float* total;
  __device__ void operator()(int64_t, double sum) const { *total = static_cast<float>(sum); }
};

struct WriteFactor {
  const float* dloss;
  bool mean;
  float* factor;
  __device__ void operator()(int64_t, double count) const {
    *factor = mean ? *dloss / static_cast<float>(count) : *dloss;
  }
};

struct WriteGradient {
  CrossEntropyGradient gradient;
  int64_t classes;
  bool small;
  float* out;
  __device__ void operator()(int64_t i) const {
    const Divided at = divide(i, classes, small);
    out[i] = gradient.at(gradient.row(at.quotient), at.quotient, at.rest);
  }
};

// Four classes of a row at a time.
struct WriteGradientFours {
  CrossEntropyGradient gradient;
  int64_t fours;  // of a row
  bool small;
  Four<float>* out;
  __device__ void operator()(int64_t i) const {
    const Divided at = divide(i, fours, small);
    const CrossEntropyGradient::Row row = gradient.row(at.quotient);
    Four<float> d;
    for (int k = 0; k < 4; ++k) d.x[k] = gradient.at(row, at.quotient, 4 * at.rest + k);
    out[i] = d;
  }
};

}  // namespace

void cross_entropy_forward(const CrossEntropyForwardArgs& args, Context& context) {
  CudaDevice& device = device_of(context);
  const CrossEntropyShape& shape = args.shape;
  const bool per_row = shape.reduction == Reduction::none;
  DeviceScratch scratch(device, per_row ? 0 : shape.n);
  float* losses = per_row ? args.loss : scratch.data();
  with_row_group(shape.classes, [&](auto group) {
    using Group = decltype(group);
    launch(cross_entropy_rows<Group>, Group::grid(shape.n), dim3(kBlock), 0, device.stream(), shape,
           args.logits, args.target, args.weight, losses, args.lse);
  });
  const char* name = shape.log_probabilities ? "nllLoss" : "crossEntropy";
  launch(cross_entropy_total, dim3(1), dim3(kTotalThreads), 0, device.stream(), shape, args.target,
         args.weight, losses, args.loss, device.index_site(name, "target"));
}

void cross_entropy_factor(CudaDevice& device, const CrossEntropyBackwardArgs& args, float* factor) {
  const CrossEntropyShape& shape = args.shape;
  if (args.weight != nullptr) {
    sum_rows<double>(device, 1, shape.classes, Weights{args.weight}, WriteTotal{factor + 1});
  }
  if (shape.reduction == Reduction::none) return;
  const bool mean = shape.reduction == Reduction::mean;
  sum_rows<double>(device, 1, mean ? shape.n : 0, Counts{shape, args.target, args.weight},
                   WriteFactor{args.dloss, mean, factor});
}

void cross_entropy_backward(const CrossEntropyBackwardArgs& args, Context& context) {
  CudaDevice& device = device_of(context);
  const int64_t classes = args.shape.classes, n = args.shape.n * classes;
  if (n == 0) return;
  DeviceScratch factor(device, 2);
  cross_entropy_factor(device, args, factor.data());
  const CrossEntropyGradient gradient(args, factor.data());
  if (classes % 4 == 0 && aligned16(args.dlogits)) {
    each(device, n / 4,
         WriteGradientFours{gradient, classes / 4, small_numbers(n),
                            reinterpret_cast<Four<float>*>(args.dlogits)});
  } else {
    each(device, n, WriteGradient{gradient, classes, small_numbers(n), args.dlogits});
  }
}

// ---- Losses of pairs: elementwise, then reduced -----------------------------------------------

namespace {

using pair_losses::Extra;

template <class L>
struct PairTerm {
  PairLossForwardArgs args;
  __device__ float operator()(int64_t, int64_t i) const {
    return L::loss(args.x[i], args.t[i],
                   Extra{args.weight ? args.weight[i] : 1, args.pos_weight ? args.pos_weight[i] : 1,
                         args.option});
  }
  __device__ void operator()(int64_t i) const { args.loss[i] = (*this)(0, i); }
};

struct WriteLoss {
  float* loss;
  double terms;
  __device__ void operator()(int64_t, double total) const { *loss = mean_of(total, terms); }
};

template <class L>
struct PairGradient {
  PairLossBackwardArgs args;
  __device__ void operator()(int64_t i) const {
    float g = args.dloss[args.reduction == Reduction::none ? i : 0];
    if (args.reduction == Reduction::mean) g /= static_cast<float>(args.n);
    const Extra extra{args.weight ? args.weight[i] : 1, args.pos_weight ? args.pos_weight[i] : 1,
                      args.option};
    if (args.dx) args.dx[i] = g * L::dx(args.x[i], args.t[i], extra);
    if (args.dt) args.dt[i] = g * L::dt(args.x[i], args.t[i], extra);
  }
};

template <class L>
void pair_forward(const PairLossForwardArgs& args, Context& context) {
  CudaDevice& device = device_of(context);
  const PairTerm<L> term{args};
  if (args.reduction == Reduction::none) return each(device, args.n, term);
  const double terms = args.reduction == Reduction::mean ? static_cast<double>(args.n) : 1;
  sum_rows<double>(device, 1, args.n, term, WriteLoss{args.loss, terms});
}

struct NoProbability {
  const float* x;
  __device__ double operator()(int64_t, int64_t i) const { return !(x[i] >= 0 && x[i] <= 1); }
};
struct ReportIfAny {
  FaultSite site;
  __device__ void operator()(int64_t, double count) const {
    if (count > 0) report_fault(site, 0, 0, 0);
  }
};

}  // namespace

void pair_loss_forward(const PairLossForwardArgs& args, Context& context) {
  CudaDevice& device = device_of(context);
  if (args.kind == PairLoss::bce) {
    sum_rows<double>(device, 1, args.n, NoProbability{args.x},
                     ReportIfAny{device.text_site("binaryCrossEntropy", kNoProbability)});
  }
  with_pair_loss(args.kind, [&](auto loss) { pair_forward<decltype(loss)>(args, context); });
}

void pair_loss_backward(const PairLossBackwardArgs& args, Context& context) {
  CudaDevice& device = device_of(context);
  with_pair_loss(args.kind,
                 [&](auto loss) { each(device, args.n, PairGradient<decltype(loss)>{args}); });
}

}  // namespace fused_rnn::cuda
