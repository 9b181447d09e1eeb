// Ranges, parts of matrices, and classes drawn from given probabilities.
#include <math.h>

#include <cstring>

#include "core/failure.h"
#include "core/random.h"
#include "cpu/isa.h"
#include "cpu/sort.h"

FUSED_RNN_KERNELS_BEGIN

namespace {

constexpr int64_t kGrain = 1 << 15;

template <class T>
void ramp_of(const RampArgs& args, Context& context) {
  const int64_t n = args.n, half = (n + 1) / 2;
  T* out = static_cast<T*>(args.out);
  context.pool.parallel_for(n, kGrain, [&](int64_t begin, int64_t end) {
    const int64_t middle = half < begin ? begin : half > end ? end : half;
    for (int64_t i = begin; i < middle; ++i) {
      out[i] = static_cast<T>(args.start + args.step * static_cast<double>(i));
    }
    for (int64_t i = middle; i < end; ++i) {
      out[i] = static_cast<T>(args.end - args.step * static_cast<double>(n - 1 - i));
    }
  });
}

}  // namespace

void ramp(const RampArgs& args, Context& context) {
  args.integer ? ramp_of<int32_t>(args, context) : ramp_of<float>(args, context);
}

void band(const BandArgs& args, Context& context) {
  const int64_t columns = args.columns;
  const auto within = [=](int64_t at) { return at < 0 ? 0 : at > columns ? columns : at; };
  context.pool.parallel_for(
      args.batch * args.rows, kGrain / (columns + 1) + 1, [&](int64_t begin, int64_t end) {
        for (int64_t r = begin; r < end; ++r) {
          const int64_t row = r % args.rows;
          const int64_t from = within(row + args.low), high = within(row + args.high + 1);
          const int64_t to = high < from ? from : high;
          uint32_t* out = args.out + r * columns;
          for (int64_t c = 0; c < from; ++c) out[c] = 0;
          if (args.x == nullptr) {
            for (int64_t c = from; c < to; ++c) out[c] = args.number;
          } else {
            const uint32_t* x = args.x + r * columns;
            for (int64_t c = from; c < to; ++c) out[c] = x[c];
          }
          for (int64_t c = to; c < columns; ++c) out[c] = 0;
        }
      });
}

namespace {

void check_probabilities(const MultinomialArgs& args, const float* p) {
  int64_t positive = 0;
  bool good = true;
  for (int64_t c = 0; c < args.classes; ++c) {
    positive += p[c] > 0;
    good = good && p[c] >= 0 && p[c] - p[c] == 0;
  }
  if (!good) fail("multinomial", "probabilities: expected finite numbers of at least 0");
  if (positive == 0 || (!args.replacement && positive < args.samples)) {
    fail("multinomial", "probabilities: expected enough numbers above 0 in every row");
  }
}

// In [0, 1), 53 bits.
double draw(const MultinomialArgs& args, int64_t i) {
  const RandomBlock block = philox(args.seed, args.counter, static_cast<uint64_t>(i));
  const uint64_t bits = (uint64_t{block.x[0]} << 21) ^ (block.x[1] >> 11);
  return static_cast<double>(bits) * 0x1p-53;
}

// sums: the probabilities' up to and with each class. The first above u of all.
int64_t class_at(const double* sums, int64_t classes, double u) {
  const double total = sums[classes - 1], wanted = u * total;
  int64_t low = 0, high = classes - 1;
  while (low < high) {
    const int64_t middle = (low + high) / 2;
    if (sums[middle] > wanted || sums[middle] >= total) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  return low;
}

}  // namespace

void multinomial(const MultinomialArgs& args, Context& context) {
  const int64_t classes = args.classes, samples = args.samples;
  const int64_t size = classes + samples;
  // Without replacement: the largest of p / e, e exponential, come first.
  const int64_t room = 4 * samples + 512 < classes + 64 ? 4 * samples + 512 : classes + 64;
  context.pool.parallel_for(args.rows, (1 << 12) / size + 1, [&](int64_t begin, int64_t end) {
    Scratch scratch(args.replacement ? 2 * classes : 4 * room + classes);
    for (int64_t row = begin; row < end; ++row) {
      const float* p = args.p + row * classes;
      int32_t* out = args.out + row * samples;
      check_probabilities(args, p);
      if (args.replacement) {
        auto* sums = reinterpret_cast<double*>(scratch.data());
        double sum = 0;
        for (int64_t c = 0; c < classes; ++c) sums[c] = sum += p[c];
        for (int64_t s = 0; s < samples; ++s) {
          out[s] = static_cast<int32_t>(class_at(sums, classes, draw(args, row * samples + s)));
        }
        continue;
      }
      auto* words = reinterpret_cast<uint64_t*>(scratch.data());
      auto* keys = reinterpret_cast<uint32_t*>(scratch.data() + 4 * room);
      for (int64_t c = 0; c < classes; ++c) {
        const auto e = static_cast<float>(fabs(::log(1 - draw(args, row * classes + c))));
        const float race = p[c] > 0 ? e / p[c] : INFINITY;
        std::memcpy(&keys[c], &race,
                    sizeof race);  // positive floats are in the order of their bits
      }
      const uint64_t* first = first_words(words, words + room, samples, room, classes, keys);
      for (int64_t s = 0; s < samples; ++s) out[s] = static_cast<int32_t>(first[s]);
    }
  });
}

FUSED_RNN_KERNELS_END
