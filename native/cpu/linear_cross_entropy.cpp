// The gradients of a linear layer under a cross entropy, in tiles of the logits' gradient that are
// used while they are in the cache: [M, O] of it, often the largest array of a training step, never
// goes to memory.
//   M rows   I inputs   O classes
#include "cpu/bf16/products.h"
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
        products_(args.bf16),
        tile_(kTileRows * kTileLd),
        rounded_(args.bf16 ? products_.words(kTileRows) * kTileClasses +
                                 products_.row_words(kTileClasses) * kTileRows
                           : 1),
        w_(dx != nullptr ? products_.floats(kTileClasses, args.in) : 1) {}

  void run(int64_t begin, int64_t end, Context& context) {
    for (int64_t from = begin; from < end; from += kTileClasses) {
      context.check_stop();
      const int64_t classes = std::min(kTileClasses, end - from);
      Panels w = products_.panels(classes, args_.in, kMaxVectors);
      w.data = w_.data();
      if (dx_ != nullptr) {
        products_.pack(w, Trans::no, classes, args_.w + from * args_.in, args_.in, w_.data(), 0,
                       w.count());
      }
      if (args_.db != nullptr) copy_or_zero(args_.db + from, nullptr, classes);
      for (int64_t row = 0; row < args_.m; row += kTileRows) {
        const int64_t rows = std::min(kTileRows, args_.m - row);
        fill(row, rows, from, classes);
        if (dx_ != nullptr) add_to_dx(w, row, rows, classes, from == begin);
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

  void add_to_dx(const Panels& w, int64_t row, int64_t rows, int64_t classes, bool first) {
    const TileA a = products_.rows(rows, classes, tile_.data(), kTileLd, rounded_.data());
    for (int64_t p = 0; p < w.count(); ++p) {
      float* c = dx_ + row * args_.in + p * w.width();
      products_.multiply(w, p, rows, a, c, args_.in, first ? nullptr : c, args_.in);
    }
  }

  void add_to_dw(int64_t row, int64_t rows, int64_t from, int64_t classes) {
    // x's panels are packed for each block of rows: see pack_x.
    Panels x = products_.panels(rows, args_.in, x_.vectors);
    x.data = x_.data + products_.words(row) * round_up(args_.in, kLanes);
    const TileA a = products_.columns(classes, rows, tile_.data(), kTileLd, rounded_.data());
    for (int64_t p = 0; p < x.count(); ++p) {
      float* c = args_.dw + from * args_.in + p * x.width();
      products_.multiply(x, p, classes, a, c, args_.in, row == 0 ? nullptr : c, args_.in);
    }
  }

  const LinearCrossEntropyBackwardArgs& args_;
  const CrossEntropyGradient& gradient_;
  const Panels& x_;
  float* dx_;
  const Products products_;
  Scratch tile_, rounded_, w_;
};

// x as panels of kTileRows rows each, one block of rows behind the other.
void pack_x(const LinearCrossEntropyBackwardArgs& args, const Products& products, float* out,
            Context& context) {
  const int64_t blocks = (args.m + kTileRows - 1) / kTileRows;
  context.pool.parallel_for(blocks, 1, [&](int64_t begin, int64_t end) {
    for (int64_t block = begin; block < end; ++block) {
      const int64_t row = block * kTileRows;
      const int64_t rows = std::min(kTileRows, args.m - row);
      const Panels x = products.panels(rows, args.in, kMaxVectors);
      products.pack(x, Trans::no, rows, args.x + row * args.in, args.in,
                    out + products.words(row) * round_up(args.in, kLanes), 0, x.count());
    }
  });
}

}  // namespace

void linear_cross_entropy_backward(const LinearCrossEntropyBackwardArgs& args, Context& context) {
  const CrossEntropyGradient gradient(args.loss);
  const int64_t padded = round_up(args.in, kLanes), dx_floats = args.m * args.in;
  const Products products(args.bf16);
  Scratch packed_x(args.dw != nullptr ? products.words(args.m) * padded : 1);
  if (args.dw != nullptr) pack_x(args, products, packed_x.data(), context);
  const Panels x{args.m, args.in, kMaxVectors, packed_x.data()};

  // Each thread has a range of the classes, and but for the first a dx of its own.
  const int64_t tiles = (args.out + kLanes - 1) / kLanes;
  const double work =
      static_cast<double>(args.m) * static_cast<double>(args.in) * static_cast<double>(args.out);
  // All of these together are no larger than what is not written down.
  const int64_t most = std::min<int64_t>(
      {context.pool.threads(), tiles, 1 + args.out / std::max<int64_t>(args.in, 1)});
  const int64_t parts = std::clamp<int64_t>(static_cast<int64_t>(work / (1 << 19)), 1, most);
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
