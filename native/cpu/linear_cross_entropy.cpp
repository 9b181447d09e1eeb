// The gradients of a linear layer under a cross entropy, in tiles of the logits' gradient that are
// used while they are in the cache: [M, O] of it, often the largest array of a training step, never
// goes to memory.
//   M rows   I inputs   O classes
#include "cpu/gemm.h"
#include "cpu/loss.h"
#include "cpu/tile.h"

FUSED_RNN_KERNELS_BEGIN
namespace {

constexpr int64_t kTileRows = 96;
constexpr int64_t kTileClasses = 512;
constexpr int64_t kAhead = 2;                   // rows
constexpr int64_t kTileLd = kTileClasses + 16;  // rows spread over the cache

// The classes [begin, end): their rows of dw and db, and their part of dx.
class ClassRange {
 public:
  ClassRange(const LinearCrossEntropyBackwardArgs& args, const CrossEntropyGradient& gradient,
             const Panels& x, float* dx)
      : args_(args),
        gradient_(gradient),
        x_(x),
        dx_(dx),
        tile_(kTileRows * kTileLd),
        w_(dx != nullptr ? Panels{kTileClasses, args.in}.floats() : 1) {}

  void run(int64_t begin, int64_t end, Context& context) {
    for (int64_t from = begin; from < end; from += kTileClasses) {
      context.check_stop();
      const int64_t classes = std::min(kTileClasses, end - from);
      const Panels w{classes, args_.in, kMaxVectors, w_.data()};
      if (dx_ != nullptr) {
        pack_panels(w, Trans::no, args_.w + from * args_.in, args_.in, w_.data(), 0, w.count());
      }
      if (args_.db != nullptr) copy_or_zero(args_.db + from, nullptr, classes);
      for (int64_t row = 0; row < args_.m; row += kTileRows) {
        const int64_t rows = std::min(kTileRows, args_.m - row);
        fill(row, rows, from, classes);
        if (dx_ != nullptr) add_to_dx(w, row, rows, from == begin);
        if (args_.dw != nullptr) add_to_dw(row, rows, from, classes);
      }
    }
  }

 private:
  void fill(int64_t row, int64_t rows, int64_t from, int64_t classes) {
    for (int64_t r = 0; r < rows; ++r) {
      float* out = tile_.data() + r * kTileLd;
      // Rows are far apart, and each part is too short for the processor to see it coming.
      if (r + kAhead < rows) gradient_.prefetch(row + r + kAhead, from, from + classes);
      gradient_.write(row + r, from, from + classes, out);
      if (args_.db == nullptr) continue;
      float* sum = args_.db + from;
      for (int64_t j = 0; j < classes; ++j) sum[j] += out[j];
    }
  }

  void add_to_dx(const Panels& w, int64_t row, int64_t rows, bool first) {
    for (int64_t p = 0; p < w.count(); ++p) {
      float* c = dx_ + row * args_.in + p * w.width();
      multiply_panel(w, p, rows, {tile_.data(), kTileLd}, c, args_.in, first ? nullptr : c,
                     args_.in);
    }
  }

  void add_to_dw(int64_t row, int64_t rows, int64_t from, int64_t classes) {
    // x's panels are packed for each block of rows: see pack_x.
    const Panels x{rows, args_.in, x_.vectors, x_.data + row * round_up(args_.in, kLanes)};
    for (int64_t p = 0; p < x.count(); ++p) {
      float* c = args_.dw + from * args_.in + p * x.width();
      multiply_panel(x, p, classes, {tile_.data(), kTileLd, true}, c, args_.in,
                     row == 0 ? nullptr : c, args_.in);
    }
  }

  const LinearCrossEntropyBackwardArgs& args_;
  const CrossEntropyGradient& gradient_;
  const Panels& x_;
  float* dx_;
  Scratch tile_, w_;
};

// x as panels of kTileRows rows each, one block of rows behind the other.
void pack_x(const LinearCrossEntropyBackwardArgs& args, float* out, Context& context) {
  const int64_t blocks = (args.m + kTileRows - 1) / kTileRows;
  context.pool.parallel_for(blocks, 1, [&](int64_t begin, int64_t end) {
    for (int64_t block = begin; block < end; ++block) {
      const int64_t row = block * kTileRows;
      const Panels x{std::min(kTileRows, args.m - row), args.in};
      pack_panels(x, Trans::no, args.x + row * args.in, args.in,
                  out + row * round_up(args.in, kLanes), 0, x.count());
    }
  });
}

}  // namespace

void linear_cross_entropy_backward(const LinearCrossEntropyBackwardArgs& args, Context& context) {
  const CrossEntropyGradient gradient(args.loss);
  const int64_t padded = round_up(args.in, kLanes), dx_floats = args.m * args.in;
  Scratch packed_x(args.dw != nullptr ? args.m * padded : 1);
  if (args.dw != nullptr) pack_x(args, packed_x.data(), context);
  const Panels x{args.m, args.in, kMaxVectors, packed_x.data()};

  // Each thread has a range of the classes, and but for the first a dx of its own.
  const int64_t tiles = (args.out + kLanes - 1) / kLanes;
  const double products =
      static_cast<double>(args.m) * static_cast<double>(args.in) * static_cast<double>(args.out);
  // All of these together are no larger than what is not written down.
  const int64_t most = std::min<int64_t>(
      {context.pool.threads(), tiles, 1 + args.out / std::max<int64_t>(args.in, 1)});
  const int64_t parts = std::clamp<int64_t>(static_cast<int64_t>(products / (1 << 19)), 1, most);
  Scratch others(args.dx != nullptr && parts > 1 ? (parts - 1) * dx_floats : 1);
  context.pool.parallel(static_cast<int>(parts), [&](int part) {
    float* dx = args.dx == nullptr || part == 0 ? args.dx : others.data() + (part - 1) * dx_floats;
    ClassRange range(args, gradient, x, dx);
    range.run(tiles * part / parts * kLanes,
              std::min(tiles * (part + 1) / parts * kLanes, args.out), context);
  });
  if (args.dx == nullptr) return;
  for (int64_t part = 1; part < parts; ++part) {
    const float* from = others.data() + (part - 1) * dx_floats;
    context.pool.parallel_for(dx_floats, 1 << 15, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) args.dx[i] += from[i];
    });
  }
}

FUSED_RNN_KERNELS_END
