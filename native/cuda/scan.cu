// Running sums, products and linear recurrences along the middle dimension.
#include "cuda/ops.h"
#include "cuda/scan.h"

namespace fused_rnn::cuda {
namespace {

template <class T, class S>
struct RunningSum {
  struct State {
    S x[1];
  };
  const T* in;
  T* out;
  __device__ State start() const { return {{0}}; }
  __device__ State load(int64_t at, bool) const { return {{static_cast<S>(in[at])}}; }
  __device__ State combine(State a, State b) const { return {{a.x[0] + b.x[0]}}; }
  __device__ void store(int64_t at, State s) const { out[at] = static_cast<T>(s.x[0]); }
};

template <class T, class S>
struct RunningProduct {
  struct State {
    S x[1];
  };
  const T* in;
  T* out;
  __device__ State start() const { return {{1}}; }
  __device__ State load(int64_t at, bool) const { return {{static_cast<S>(in[at])}}; }
  __device__ State combine(State a, State b) const { return {{a.x[0] * b.x[0]}}; }
  __device__ void store(int64_t at, State s) const { out[at] = static_cast<T>(s.x[0]); }
};

// y → x[0] y + x[1]
struct Recurrence {
  struct State {
    double x[2];
  };
  const float* in;
  const float* a;
  float* out;
  int64_t shift;  // to the factor: 0, or, backwards, a step of the run back
  __device__ State start() const { return {{1, 0}}; }
  __device__ State load(int64_t at, bool first) const {
    return {{first ? 0.0 : static_cast<double>(a[at + shift]), static_cast<double>(in[at])}};
  }
  __device__ State combine(State before, State after) const {
    return {{after.x[0] * before.x[0], after.x[0] * before.x[1] + after.x[1]}};
  }
  __device__ void store(int64_t at, State s) const { out[at] = static_cast<float>(s.x[1]); }
};

template <class Kind, class T>
void run(const ScanArgs& args, Context& context) {
  scan_all(device_of(context), Kind{static_cast<const T*>(args.x), static_cast<T*>(args.out)},
           args.outer, args.n, args.inner, args.reverse);
}

}  // namespace

void scan(const ScanArgs& args, Context& context) {
  switch (args.kind) {
    case ScanKind::sum:
      return args.integer ? run<RunningSum<uint32_t, uint32_t>, uint32_t>(args, context)
                          : run<RunningSum<float, double>, float>(args, context);
    case ScanKind::product:
      return args.integer ? run<RunningProduct<uint32_t, uint32_t>, uint32_t>(args, context)
                          : run<RunningProduct<float, double>, float>(args, context);
    case ScanKind::linear:
      return scan_all(device_of(context),
                      Recurrence{static_cast<const float*>(args.x), args.a,
                                 static_cast<float*>(args.out), args.reverse ? args.inner : 0},
                      args.outer, args.n, args.inner, args.reverse);
  }
}

}  // namespace fused_rnn::cuda
