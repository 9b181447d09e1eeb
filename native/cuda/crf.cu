// Linear-chain conditional random fields: a block for each sequence walks through its steps, its
// threads share the tags. See native/cpu/crf.cpp for the arithmetic.
#include "cuda/elements.h"
#include "cuda/indices.h"
#include "cuda/ops.h"
#include "cuda/reduce.h"
#include "ops/log_sum.h"

namespace fused_rnn::cuda {
namespace {

constexpr int kThreads = 128;
constexpr float kLeast = 1e-25f;
constexpr const char* kName = "CRF";

__device__ inline int64_t row_of(const CrfShape& shape, int64_t step, int64_t i) {
  return step * shape.step_stride + i * shape.batch_stride;
}

// exp(transitions), each column by its largest.
struct Factors {
  const float* transitions;
  float* largest;  // [tags]
  float* factors;  // [tags, tags]
  int64_t tags;
  __device__ void operator()(int64_t j) const {
    float most = kMinusInfinity;
    for (int64_t i = 0; i < tags; ++i) {
      const float x = transitions[i * tags + j];
      most = x > most ? x : most;
    }
    most = most > kMinusInfinity ? most : 0;
    largest[j] = most;
    for (int64_t i = 0; i < tags; ++i) {
      factors[i * tags + j] = exp_(transitions[i * tags + j] - most);
    }
  }
};

Factors make_factors(CudaDevice& device, const CrfWeights& weights, int64_t tags, float* data) {
  const Factors factors{weights.transitions, data, data + tags, tags};
  each(device, tags, factors);
  return factors;
}

// The length of each sequence, at least 1; reports a mask that is none. One block.
__global__ void __launch_bounds__(kBlock)
    crf_lengths_kernel(CrfShape shape, const int32_t* mask, int32_t* lengths, FaultSite first,
                       FaultSite hole) {
  FUSED_RNN_SHARED(int64_t, scratch, kWarp);
  int64_t empty = 0, holes = 0;
  for (int64_t i = threadIdx.x; i < shape.batch; i += blockDim.x) {
    int64_t length = shape.steps;
    if (mask != nullptr) {
      length = 0;
      while (length < shape.steps && mask[row_of(shape, length, i)] != 0) ++length;
      empty += length == 0;
      for (int64_t step = length; length > 0 && step < shape.steps; ++step) {
        holes += mask[row_of(shape, step, i)] != 0;
      }
    }
    lengths[i] = static_cast<int32_t>(length > 0 ? length : 1);
  }
  empty = block_reduce(empty, 0, scratch, reduce::Plus{});
  holes = block_reduce(holes, 0, scratch, reduce::Plus{});
  if (threadIdx.x > 0) return;
  if (empty > 0)
    report_fault(first, 0, 0, 0);
  else if (holes > 0)
    report_fault(hole, 0, 0, 0);
}

void find_lengths(CudaDevice& device, const CrfShape& shape, const int32_t* mask,
                  int32_t* lengths) {
  launch(crf_lengths_kernel, dim3(1), dim3(kBlock), 0, device.stream(), shape, mask, lengths,
         device.text_site(kName, "mask: expected the first step of every sequence to be on"),
         device.text_site(kName, "mask: expected ones followed by zeros in every sequence"));
}

// Reports the first tag out of range, sequence by sequence. One block.
__global__ void __launch_bounds__(kBlock)
    crf_tags_kernel(CrfShape shape, const int32_t* path, const int32_t* lengths, FaultSite site) {
  FUSED_RNN_SHARED(int64_t, scratch, kWarp);
  const int64_t n = shape.steps * shape.batch;
  int64_t bad = n;
  for (int64_t k = threadIdx.x; k < n; k += blockDim.x) {
    const int64_t i = k / shape.steps, step = k % shape.steps;
    if (step >= lengths[i]) continue;
    const int64_t tag = path[row_of(shape, step, i)];
    if ((tag < 0 || tag >= shape.tags) && k < bad) bad = k;
  }
  bad = block_reduce(bad, n, scratch, reduce::Smaller{});
  if (threadIdx.x > 0 || bad == n) return;
  const int64_t at = row_of(shape, bad % shape.steps, bad / shape.steps);
  report_fault(site, at, path[at], shape.tags);
}

__device__ inline int64_t tag_at(const CrfShape& shape, const int32_t* path, int64_t row) {
  const int64_t tag = path[row];
  return tag < 0 || tag >= shape.tags ? 0 : tag;
}

// The largest of a row; 0 where there is nothing.
__device__ inline float largest_of(const float* row, int64_t tags, float* scratch) {
  float largest = kMinusInfinity;
  for (int64_t j = threadIdx.x; j < tags; j += blockDim.x) {
    largest = row[j] > largest ? row[j] : largest;
  }
  largest = block_reduce(largest, kMinusInfinity, scratch, reduce::Larger{});
  return largest > kMinusInfinity ? largest : 0;
}

// The logarithm of the sum over all tags before j, of the row `before` less `largest`.
__device__ float exact_sum(const Factors& factors, const float* before, float largest, int64_t j) {
  const int64_t tags = factors.tags;
  float most = kMinusInfinity;
  for (int64_t i = 0; i < tags; ++i) {
    const float x = before[i] - largest + factors.transitions[i * tags + j];
    most = x > most ? x : most;
  }
  if (!(most > kMinusInfinity)) most = 0;
  double sum = 0;
  for (int64_t i = 0; i < tags; ++i) {
    sum += exp_(before[i] - largest + factors.transitions[i * tags + j] - most);
  }
  return most + static_cast<float>(::log(sum));
}

// rows: of each sequence two more after its exponentials, [batch, 3, tags].
__global__ void __launch_bounds__(kThreads)
    crf_forward_kernel(CrfForwardArgs args, Factors factors, float* rows) {
  FUSED_RNN_SHARED(float, floats, kWarp);
  FUSED_RNN_SHARED(double, doubles, kWarp);
  const CrfShape& shape = args.shape;
  const int64_t i = blockIdx.x, tags = shape.tags, length = args.lengths[i];
  float* powers = rows + i * 3 * tags;
  const auto row = [&](int64_t step) {
    return args.alpha != nullptr ? args.alpha + (i * shape.steps + step) * tags
                                 : powers + (1 + step % 2) * tags;
  };
  double score = 0, taken = 0;
  for (int64_t step = threadIdx.x; step < length; step += blockDim.x) {
    const int64_t at = row_of(shape, step, i), tag = tag_at(shape, args.path, at);
    score += args.emissions[at * tags + tag];
    if (step == 0) score += args.weights.start[tag];
    if (step == length - 1) score += args.weights.end[tag];
    if (step == 0) continue;
    const int64_t before = tag_at(shape, args.path, row_of(shape, step - 1, i));
    score += factors.transitions[before * tags + tag];
  }
  score = block_reduce(score, 0, doubles, reduce::Plus{});
  for (int64_t step = 0; step < length; ++step) {
    const float* emissions = args.emissions + row_of(shape, step, i) * tags;
    float* next = row(step);
    if (step == 0) {
      for (int64_t j = threadIdx.x; j < tags; j += blockDim.x) {
        next[j] = args.weights.start[j] + emissions[j];
      }
      __syncthreads();
      continue;
    }
    const float* before = row(step - 1);
    const float largest = largest_of(before, tags, floats);
    for (int64_t j = threadIdx.x; j < tags; j += blockDim.x) powers[j] = exp_(before[j] - largest);
    __syncthreads();
    for (int64_t j = threadIdx.x; j < tags; j += blockDim.x) {
      float sum = 0;
      for (int64_t k = 0; k < tags; ++k) sum += powers[k] * factors.factors[k * tags + j];
      next[j] = emissions[j] + (sum >= kLeast ? log_(sum) + factors.largest[j]
                                              : exact_sum(factors, before, largest, j));
    }
    taken += largest;
    __syncthreads();
  }
  const float* last = row(length - 1);
  double most = kMinusInfinity, sum = 0;
  for (int64_t j = threadIdx.x; j < tags; j += blockDim.x) {
    const double x = double{last[j]} + args.weights.end[j];
    most = x > most ? x : most;
  }
  most = -block_reduce(-most, -double{kMinusInfinity}, doubles, reduce::Smaller{});
  if (!(most > kMinusInfinity)) most = 0;
  for (int64_t j = threadIdx.x; j < tags; j += blockDim.x) {
    sum += ::exp(double{last[j]} + args.weights.end[j] - most);
  }
  sum = block_reduce(sum, 0, doubles, reduce::Plus{});
  if (threadIdx.x == 0) {
    args.likelihood[i] = static_cast<float>(score - (taken + most + ::log(sum)));
  }
}

// What a block adds up of the weights' gradients, as native/cpu/crf.cpp's Sums.
__host__ __device__ inline int64_t sums_size(int64_t tags) { return 2 * tags * (tags + 1); }

// Blocks take every gridDim.x-th sequence each. rows: [blocks, 3, tags].
__global__ void __launch_bounds__(kThreads)
    crf_backward_kernel(CrfBackwardArgs args, Factors factors, float* rows, float* sums) {
  FUSED_RNN_SHARED(float, floats, kWarp);
  FUSED_RNN_SHARED(double, doubles, kWarp);
  const CrfShape& shape = args.shape;
  const int64_t tags = shape.tags;
  float* data = sums + blockIdx.x * sums_size(tags);
  float *start = data, *end = start + tags, *products = end + tags, *rest = products + tags * tags;
  for (int64_t k = threadIdx.x; k < sums_size(tags); k += blockDim.x) data[k] = 0;
  float* p = rows + blockIdx.x * 3 * tags;
  float *powers = p + tags, *parts = powers + tags;
  __syncthreads();
  for (int64_t i = blockIdx.x; i < shape.batch; i += gridDim.x) {
    const int64_t length = args.lengths[i];
    const float g = args.dlikelihood[i];
    const auto row = [&](int64_t step) { return args.alpha + (i * shape.steps + step) * tags; };
    for (int64_t k = threadIdx.x; k < (shape.steps - length) * tags; k += blockDim.x) {
      args.demissions[row_of(shape, length + k / tags, i) * tags + k % tags] = 0;
    }
    const float* last = row(length - 1);
    float most = kMinusInfinity;
    for (int64_t j = threadIdx.x; j < tags; j += blockDim.x) {
      p[j] = last[j] + args.weights.end[j];
      most = p[j] > most ? p[j] : most;
    }
    most = block_reduce(most, kMinusInfinity, floats, reduce::Larger{});
    double total = 0;
    for (int64_t j = threadIdx.x; j < tags; j += blockDim.x) {
      p[j] = exp_(p[j] - most);
      total += p[j];
    }
    auto scale = static_cast<float>(1 / block_reduce(total, 0, doubles, reduce::Plus{}));
    int64_t tag = tag_at(shape, args.path, row_of(shape, length - 1, i));
    for (int64_t j = threadIdx.x; j < tags; j += blockDim.x) {
      p[j] *= scale;
      end[j] += g * ((j == tag) - p[j]);
    }
    for (int64_t step = length - 1;; --step) {
      __syncthreads();
      const int64_t at = row_of(shape, step, i);
      float* out = args.demissions + at * tags;
      for (int64_t j = threadIdx.x; j < tags; j += blockDim.x) out[j] = g * ((j == tag) - p[j]);
      if (step == 0) break;
      const float *here = row(step), *there = row(step - 1),
                  *emissions = args.emissions + at * tags;
      const float largest = largest_of(there, tags, floats);
      for (int64_t j = threadIdx.x; j < tags; j += blockDim.x) {
        const float sum = exp_(here[j] - emissions[j] - factors.largest[j]);
        parts[j] = sum >= kLeast ? p[j] / sum : 0;
        powers[j] = exp_(there[j] - largest);
      }
      __syncthreads();
      for (int64_t k = threadIdx.x; k < tags * tags; k += blockDim.x) {
        const int64_t from = k / tags, j = k % tags;
        products[k] += g * powers[from] * parts[j];
        if (parts[j] > 0 || p[j] == 0) continue;
        rest[k] -= g * p[j] *
                   share_of(there[from] - largest + factors.transitions[k], here[j] - emissions[j]);
      }
      __syncthreads();  // powers become the probabilities one step earlier
      double sum = 0;
      for (int64_t from = threadIdx.x; from < tags; from += blockDim.x) {
        float x = 0, exact = 0;
        for (int64_t j = 0; j < tags; ++j) {
          x += factors.factors[from * tags + j] * parts[j];
          if (parts[j] > 0 || p[j] == 0) continue;
          exact += p[j] * share_of(there[from] - largest + factors.transitions[from * tags + j],
                                   here[j] - emissions[j]);
        }
        powers[from] = powers[from] * x + exact;
        sum += powers[from];
      }
      scale = static_cast<float>(1 / block_reduce(sum, 0, doubles, reduce::Plus{}));
      const int64_t before = tag_at(shape, args.path, row_of(shape, step - 1, i));
      for (int64_t j = threadIdx.x; j < tags; j += blockDim.x) p[j] = powers[j] * scale;
      if (threadIdx.x == 0) rest[before * tags + tag] += g;
      tag = before;
    }
    for (int64_t j = threadIdx.x; j < tags; j += blockDim.x) {
      start[j] += g * ((j == tag) - p[j]);
    }
    __syncthreads();
  }
}

struct Same {
  __device__ float operator()(float x) const { return x; }
};
struct WriteTransitions {
  const float* products;
  const float* rest;
  const float* factors;
  float* out;
  __device__ void operator()(int64_t k) const { out[k] = rest[k] - factors[k] * products[k]; }
};

// scores: [batch, 2, tags]; from: [batch, steps, tags].
__global__ void __launch_bounds__(kThreads)
    crf_decode_kernel(CrfDecodeArgs args, const int32_t* lengths, float* scores, int32_t* from) {
  const CrfShape& shape = args.shape;
  const int64_t i = blockIdx.x, tags = shape.tags, length = lengths[i];
  const auto score = [&](int64_t step) { return scores + (2 * i + step % 2) * tags; };
  int32_t* ways = from + i * shape.steps * tags;
  for (int64_t step = 0; step < length; ++step) {
    const float* emissions = args.emissions + row_of(shape, step, i) * tags;
    const float* before = score(step + 1);
    for (int64_t j = threadIdx.x; j < tags; j += blockDim.x) {
      float most = args.weights.start[j];
      int64_t way = 0;
      if (step > 0) most = before[0] + args.weights.transitions[j];
      for (int64_t k = 1; k < tags && step > 0; ++k) {
        const float x = before[k] + args.weights.transitions[k * tags + j];
        way = x > most ? k : way;
        most = x > most ? x : most;
      }
      ways[step * tags + j] = static_cast<int32_t>(way);
      score(step)[j] = most + emissions[j];
    }
    __syncthreads();
  }
  for (int64_t step = length + threadIdx.x; step < shape.steps; step += blockDim.x) {
    args.path[row_of(shape, step, i)] = -1;
  }
  if (threadIdx.x > 0) return;
  const float* last = score(length - 1);
  int32_t tag = 0;
  for (int64_t j = 1; j < tags; ++j) {
    if (last[j] + args.weights.end[j] > last[tag] + args.weights.end[tag]) {
      tag = static_cast<int32_t>(j);
    }
  }
  for (int64_t step = length - 1; step >= 0; --step) {
    args.path[row_of(shape, step, i)] = tag;
    tag = ways[step * tags + tag];
  }
}

}  // namespace

void crf_forward(const CrfForwardArgs& args, Context& context) {
  CudaDevice& device = device_of(context);
  const CrfShape& shape = args.shape;
  find_lengths(device, shape, args.mask, args.lengths);
  launch(crf_tags_kernel, dim3(1), dim3(kBlock), 0, device.stream(), shape, args.path, args.lengths,
         device.index_site(kName, "tags"));
  DeviceScratch table(device, shape.tags * (shape.tags + 1));
  DeviceScratch rows(device, shape.batch * 3 * shape.tags);
  const Factors factors = make_factors(device, args.weights, shape.tags, table.data());
  launch(crf_forward_kernel, dim3(static_cast<unsigned>(shape.batch)), dim3(kThreads), 0,
         device.stream(), args, factors, rows.data());
}

void crf_backward(const CrfBackwardArgs& args, Context& context) {
  CudaDevice& device = device_of(context);
  const CrfShape& shape = args.shape;
  const int64_t tags = shape.tags, size = sums_size(tags);
  // The sums of all blocks take 256 MB at most.
  const int64_t blocks =
      std::clamp<int64_t>((int64_t{1} << 26) / size, 1, std::max<int64_t>(shape.batch, 1));
  DeviceScratch table(device, tags * (tags + 1));
  DeviceScratch rows(device, blocks * 3 * tags);
  DeviceScratch sums(device, (blocks + 1) * size);
  const Factors factors = make_factors(device, args.weights, tags, table.data());
  launch(crf_backward_kernel, dim3(static_cast<unsigned>(blocks)), dim3(kThreads), 0,
         device.stream(), args, factors, rows.data(), sums.data());
  float* total = sums.data() + blocks * size;
  column_sum(device, sums.data(), 1, blocks, size, size, 1, total);
  map(device, tags, Same{}, args.dstart, static_cast<const float*>(total));
  map(device, tags, Same{}, args.dend, static_cast<const float*>(total + tags));
  const float* products = total + 2 * tags;
  each(device, tags * tags,
       WriteTransitions{products, products + tags * tags, factors.factors, args.dtransitions});
}

void crf_decode(const CrfDecodeArgs& args, Context& context) {
  CudaDevice& device = device_of(context);
  const CrfShape& shape = args.shape;
  DeviceScratch lengths(device, shape.batch);
  DeviceScratch scores(device, shape.batch * 2 * shape.tags);
  DeviceScratch from(device, shape.batch * shape.steps * shape.tags);
  auto* length = reinterpret_cast<int32_t*>(lengths.data());
  find_lengths(device, shape, args.mask, length);
  launch(crf_decode_kernel, dim3(static_cast<unsigned>(shape.batch)), dim3(kThreads), 0,
         device.stream(), args, static_cast<const int32_t*>(length), scores.data(),
         reinterpret_cast<int32_t*>(from.data()));
}

}  // namespace fused_rnn::cuda
