// Connectionist temporal classification: a block for each sequence walks through its steps, its
// threads share the states.
#include "cuda/elements.h"
#include "cuda/indices.h"
#include "cuda/ops.h"
#include "cuda/reduce.h"
#include "ops/log_sum.h"

namespace fused_rnn::cuda {
namespace {

constexpr int kThreads = 128;
constexpr float kNothing = kMinusInfinity;

// One sequence of the batch, as its block sees it; see native/cpu/ctc.cpp.
struct Sequence {
  int64_t classes, blank, stride, steps, n, offset, alpha_offset;
  const int32_t* labels;
  const float* log_probs;

  __device__ const float* at(int64_t step) const { return log_probs + step * stride; }
};

// By the whole block. A sequence whose lengths are wrong, which is reported elsewhere, has none.
template <class Args>
__device__ Sequence sequence_of(const Args& args, int64_t i, int64_t* scratch) {
  const CtcShape& shape = args.shape;
  Sequence s{};
  s.offset = i * shape.width;
  if (shape.width < 0) {
    int64_t before = 0;
    for (int64_t k = threadIdx.x; k < i; k += blockDim.x) before += args.target_lengths[k];
    s.offset = block_reduce(before, 0, scratch, reduce::Plus{});
  }
  s.classes = shape.classes;
  s.blank = shape.blank;
  s.stride = shape.batch * shape.classes;
  s.steps = args.input_lengths[i];
  s.n = args.target_lengths[i];
  const int64_t room = shape.width < 0 ? shape.total - s.offset : shape.width;
  if (s.steps < 0 || s.steps > shape.steps || s.offset < 0 || s.n < 0 || s.n > room) {
    s.steps = s.n = s.offset = 0;
  }
  s.labels = args.targets + s.offset;
  s.log_probs = args.log_probs + i * shape.classes;
  s.alpha_offset = shape.steps * 2 * (s.offset + i);
  return s;
}

// A label as a class; one that is none, which is reported elsewhere, as the blank.
__device__ inline int64_t class_of(const Sequence& s, int64_t k) {
  const int64_t label = s.labels[k];
  return label < 0 || label >= s.classes ? s.blank : label;
}

__device__ inline bool may_skip(const Sequence& s, int64_t k) {
  return k > 0 && k < s.n && s.labels[k] != s.labels[k - 1];
}

struct Row {
  const float* blanks;
  const float* labels;  // labels[-1] is a gap of -infinity
};
__device__ inline Row row_at(const float* data, int64_t n) { return {data, data + n + 2}; }

// alpha[t] for state k of the row: blanks [n + 1], the gap, labels [n].
__device__ inline float next_state(const Sequence& s, Row row, float largest,
                                   const float* log_probs, int64_t k) {
  if (k == s.n + 1) return kNothing;
  if (k <= s.n) {
    return log_sum(row.blanks[k] - largest, row.labels[k - 1] - largest) + log_probs[s.blank];
  }
  k -= s.n + 2;
  const float skipped = may_skip(s, k) ? row.labels[k - 1] - largest : kNothing;
  return log_sum(row.labels[k] - largest, row.blanks[k] - largest, skipped) +
         log_probs[class_of(s, k)];
}

__device__ inline float first_state(const Sequence& s, int64_t k) {
  if (k == 0) return s.at(0)[s.blank];
  return k == s.n + 2 && s.n > 0 ? s.at(0)[class_of(s, 0)] : kNothing;
}

// The largest of a row; 0 where there is nothing.
__device__ inline float largest_of(const float* row, int64_t width, float* scratch) {
  float largest = kNothing;
  for (int64_t k = threadIdx.x; k < width; k += blockDim.x) {
    largest = row[k] > largest ? row[k] : largest;
  }
  largest = block_reduce(largest, kNothing, scratch, reduce::Larger{});
  return largest > kNothing ? largest : 0;
}

// rows: of each sequence two, where alpha is not kept.
__global__ void __launch_bounds__(kThreads) ctc_forward_kernel(CtcForwardArgs args, float* rows) {
  FUSED_RNN_SHARED(int64_t, integers, kWarp);
  FUSED_RNN_SHARED(float, floats, kWarp);
  const int64_t i = blockIdx.x;
  const Sequence s = sequence_of(args, i, integers);
  const int64_t width = CtcShape::row(s.n);
  const float none = args.shape.zero_infinity ? 0 : -kNothing;
  if (s.steps == 0) {
    if (threadIdx.x == 0) args.loss[i] = s.n == 0 ? 0 : none;
    return;
  }
  const auto row = [&](int64_t step) {
    return args.alpha != nullptr ? args.alpha + s.alpha_offset + step * width
                                 : rows + 4 * (s.offset + i) + step % 2 * width;
  };
  for (int64_t k = threadIdx.x; k < width; k += blockDim.x) row(0)[k] = first_state(s, k);
  __syncthreads();
  double taken = 0;
  for (int64_t step = 1; step < s.steps; ++step) {
    const float largest = largest_of(row(step - 1), width, floats);
    const Row before = row_at(row(step - 1), s.n);
    float* next = row(step);
    for (int64_t k = threadIdx.x; k < width; k += blockDim.x) {
      next[k] = next_state(s, before, largest, s.at(step), k);
    }
    taken += largest;
    __syncthreads();
  }
  if (threadIdx.x > 0) return;
  const Row last = row_at(row(s.steps - 1), s.n);
  const double a = last.blanks[s.n], b = s.n > 0 ? last.labels[s.n - 1] : kNothing;
  const double most = a > b ? a : b;
  args.loss[i] =
      most == kNothing
          ? none
          : static_cast<float>(-(taken + most + ::log(::exp(a - most) + ::exp(b - most))));
}

// One block: reports the first length or target that is wrong.
__global__ void __launch_bounds__(kBlock)
    ctc_check_kernel(CtcForwardArgs args, FaultSite inputs, FaultSite lengths, FaultSite sum_site,
                     FaultSite classes, FaultSite blanks) {
  FUSED_RNN_SHARED(int64_t, scratch, kWarp);
  const CtcShape& shape = args.shape;
  const bool padded = shape.width >= 0;
  check_indices({args.input_lengths, shape.batch, 0, shape.steps + 1}, inputs, scratch);
  const int64_t most = padded ? shape.width : shape.total;
  const IndexRange range{args.target_lengths, shape.batch, 0, most + 1};
  check_indices(range, lengths, scratch);
  int64_t sum = 0, wrong = 0;
  for (int64_t i = threadIdx.x; i < shape.batch; i += blockDim.x) {
    sum += args.target_lengths[i];
    wrong += !range.holds(args.target_lengths[i]);
  }
  sum = block_reduce(sum, 0, scratch, reduce::Plus{});
  wrong = block_reduce(wrong, 0, scratch, reduce::Plus{});
  if (wrong > 0) return;
  if (!padded && sum != shape.total) {
    if (threadIdx.x == 0) report_fault(sum_site, 0, 0, 0);
    return;
  }
  int64_t bad = shape.total, blank = 0;
  for (int64_t k = threadIdx.x; k < shape.total; k += blockDim.x) {
    if (padded && k % shape.width >= args.target_lengths[k / shape.width]) continue;
    const int64_t label = args.targets[k];
    if ((label < 0 || label >= shape.classes) && k < bad) bad = k;
    blank += label == shape.blank;
  }
  bad = block_reduce(bad, shape.total, scratch, reduce::Smaller{});
  blank = block_reduce(blank, 0, scratch, reduce::Plus{});
  if (threadIdx.x > 0) return;
  if (bad < shape.total)
    report_fault(classes, bad, args.targets[bad], shape.classes);
  else if (blank > 0)
    report_fault(blanks, 0, 0, 0);
}

// What every element of the gradient has, whatever the target.
struct WriteProbabilities {
  CtcBackwardArgs args;
  bool small;
  __device__ void operator()(int64_t at) const {
    const CtcShape& shape = args.shape;
    const int64_t place = divide(at, shape.classes, small).quotient;
    const Divided row = divide(place, shape.batch, small);
    const int64_t i = row.rest;
    args.dlog_probs[at] =
        row.quotient < args.input_lengths[i] ? exp_(args.log_probs[at]) * args.dloss[i] : 0;
  }
};

// Probabilities of the states of one step: blanks [n + 2], labels [n + 1], zeros at the ends.
struct Posterior {
  float* blanks;
  float* labels;
};

// Subtracts the probabilities of the states of each step. `scratch`: of each sequence 4 (n + 2)
// floats for two posteriors, `next`: n + 1 integers. Labels that a target has several times are
// added up by the thread of the first one: next[k] is where label k is again, or -1.
__global__ void __launch_bounds__(kThreads)
    ctc_backward_kernel(CtcBackwardArgs args, float* scratch, int32_t* links) {
  FUSED_RNN_SHARED(int64_t, integers, kWarp);
  FUSED_RNN_SHARED(float, floats, kWarp);
  FUSED_RNN_SHARED(double, doubles, kWarp);
  const int64_t i = blockIdx.x;
  const Sequence s = sequence_of(args, i, integers);
  if (s.steps == 0) return;
  const int64_t n = s.n, width = CtcShape::row(n);
  const auto row = [&](int64_t step) { return args.alpha + s.alpha_offset + step * width; };
  const auto gradient = [&](int64_t step) {
    return args.dlog_probs + (step * args.shape.batch + i) * s.classes;
  };
  const Row last = row_at(row(s.steps - 1), n);
  const float end = n > 0 ? last.labels[n - 1] : kNothing;
  const float whole = log_sum(last.blanks[n], end);
  if (whole == kNothing) {
    const float value = args.shape.zero_infinity ? 0 : detail::kNaN;
    for (int64_t k = threadIdx.x; k < s.steps * s.classes; k += blockDim.x) {
      gradient(k / s.classes)[k % s.classes] = value;
    }
    return;
  }
  int32_t* next = links + 2 * s.offset;
  int32_t* first = next + n;
  for (int64_t k = threadIdx.x; k < n; k += blockDim.x) {
    int64_t at = k + 1;
    while (at < n && s.labels[at] != s.labels[k]) ++at;
    next[k] = at < n ? static_cast<int32_t>(at) : -1;
    at = 0;
    while (s.labels[at] != s.labels[k]) ++at;
    first[k] = at == k;
  }
  float* data = scratch + 4 * (s.offset + 2 * i);
  const auto posterior = [&](int64_t step) {
    float* blanks = data + step % 2 * 2 * (n + 2);
    return Posterior{blanks, blanks + n + 2};
  };
  for (int64_t k = threadIdx.x; k < 4 * (n + 2); k += blockDim.x) data[k] = 0;
  __syncthreads();
  if (threadIdx.x == 0) {
    const Posterior now = posterior(s.steps - 1);
    now.blanks[n] = share_of(last.blanks[n], whole);
    if (n > 0) now.labels[n - 1] = share_of(end, whole);
  }
  __syncthreads();
  const float g = args.dloss[i];
  double scale = 1;  // of the posterior, whose sum rounding would let drift
  for (int64_t step = s.steps - 1; step >= 0; --step) {
    const Posterior now = posterior(step), before = posterior(step + 1);
    const float* log_probs = s.at(step);
    double blank = 0;
    for (int64_t k = threadIdx.x; k <= n; k += blockDim.x) blank += now.blanks[k];
    blank = block_reduce(blank, 0, doubles, reduce::Plus{});
    if (threadIdx.x == 0) gradient(step)[s.blank] -= g * static_cast<float>(blank * scale);
    for (int64_t k = threadIdx.x; k < n; k += blockDim.x) {
      if (!first[k]) continue;
      double sum = 0;
      for (int64_t at = k; at >= 0; at = next[at]) sum += now.labels[at];
      gradient(step)[class_of(s, k)] -= g * static_cast<float>(sum * scale);
    }
    if (step == 0) break;
    const Row here = row_at(row(step), n), there = row_at(row(step - 1), n);
    const float largest = largest_of(row(step - 1), width, floats);
    const auto factor = static_cast<float>(scale);
    const float blank_probs = log_probs[s.blank];
    const auto from_blank = [&](float a, int64_t k) {
      return now.blanks[k] * share_of(a, here.blanks[k] - blank_probs);
    };
    const auto from_label = [&](float a, int64_t k) {
      return k < n ? now.labels[k] * share_of(a, here.labels[k] - log_probs[class_of(s, k)]) : 0;
    };
    double total = 0;
    for (int64_t k = threadIdx.x; k <= n; k += blockDim.x) {
      const float blank_alpha = there.blanks[k] - largest;
      before.blanks[k] = (from_blank(blank_alpha, k) + from_label(blank_alpha, k)) * factor;
      total += before.blanks[k];
      if (k == n) continue;
      const float a = there.labels[k] - largest;
      const float skipped = may_skip(s, k + 1) ? from_label(a, k + 1) : 0;
      before.labels[k] = (from_blank(a, k + 1) + from_label(a, k) + skipped) * factor;
      total += before.labels[k];
    }
    scale = 1 / block_reduce(total, 0, doubles, reduce::Plus{});
  }
}

}  // namespace

void ctc_forward(const CtcForwardArgs& args, Context& context) {
  CudaDevice& device = device_of(context);
  const CtcShape& shape = args.shape;
  DeviceScratch rows(device, args.alpha == nullptr ? 4 * (shape.total + shape.batch) : 0);
  constexpr const char* kName = "ctcLoss";
  launch(ctc_check_kernel, dim3(1), dim3(kBlock), 0, device.stream(), args,
         device.index_site(kName, "inputLengths"), device.index_site(kName, "targetLengths"),
         device.text_site(kName,
                          "targetLengths: expected lengths that add up to the number of targets"),
         device.index_site(kName, "targets"),
         device.text_site(kName, "targets: expected labels, got the blank"));
  launch(ctc_forward_kernel, dim3(static_cast<unsigned>(shape.batch)), dim3(kThreads), 0,
         device.stream(), args, rows.data());
}

void ctc_backward(const CtcBackwardArgs& args, Context& context) {
  CudaDevice& device = device_of(context);
  const CtcShape& shape = args.shape;
  const int64_t elements = shape.steps * shape.batch * shape.classes;
  each(device, elements, WriteProbabilities{args, small_numbers(elements)});
  DeviceScratch scratch(device, 4 * (shape.total + 2 * shape.batch));
  DeviceScratch links(device, 2 * shape.total);
  launch(ctc_backward_kernel, dim3(static_cast<unsigned>(shape.batch)), dim3(kThreads), 0,
         device.stream(), args, scratch.data(), reinterpret_cast<int32_t*>(links.data()));
}

}  // namespace fused_rnn::cuda
