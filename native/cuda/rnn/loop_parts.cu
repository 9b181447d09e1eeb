// Pieces that the forward and backward passes of recurrent layers share.
#include <bit>

#include "cuda/rnn/step_kernels.h"

namespace fused_rnn::cuda {
namespace {

// Scales what dropout keeps of a layer's output or of its gradient, and zeroes the rest.
struct Dropout {
  float* x;
  int64_t begin, end;  // the elements
  DropoutFactors factors;
  __device__ void operator()(int64_t i) const {
    const int64_t number = begin / 4 + i;
    const RandomBlock bits = factors.block(number);
    for (int k = 0; k < 4; ++k) {
      const int64_t at = number * 4 + k;
      if (at >= begin && at < end) x[at] *= factors.factor(bits.x[k]);
    }
  }
};

struct StoreRandom {
  uint64_t* to;
  uint64_t seed, counter;
  __device__ void operator()(int64_t) const {
    to[0] = seed;
    to[1] = counter;
  }
};

void queue_dropout(const Feed& feed, int64_t row, int64_t rows, cudaStream_t stream) {
  if (feed.dropped == nullptr) return;
  const int64_t begin = row * feed.width, end = begin + rows * feed.width;
  const int64_t blocks = (end + 3) / 4 - begin / 4;
  launch(each_kernel<Dropout>, blocks_for(blocks), dim3(kBlock), 0, stream,
         Dropout{feed.dropped, begin, end, DropoutFactors(feed)}, blocks);
}

// A tile of kTile x kTile elements per block, kTile x kTileRows threads; columns of tiles along x.
constexpr int kTile = 32, kTileRows = 8;
__global__ void __launch_bounds__(kTile* kTileRows)
    transpose_kernel(const float* in, int64_t rows, int64_t columns, int64_t ld_in, float* out) {
  FUSED_RNN_SHARED(float, tile, kTile*(kTile + 1));
  const int x = static_cast<int>(threadIdx.x);
  const int64_t column0 = static_cast<int64_t>(blockIdx.x) * kTile;
  for (int64_t row0 = static_cast<int64_t>(blockIdx.y) * kTile; row0 < rows;
       row0 += static_cast<int64_t>(gridDim.y) * kTile) {
    for (int y = static_cast<int>(threadIdx.y); y < kTile; y += kTileRows) {
      if (row0 + y < rows && column0 + x < columns) {
        tile[y * (kTile + 1) + x] = in[(row0 + y) * ld_in + column0 + x];
      }
    }
    __syncthreads();
    for (int y = static_cast<int>(threadIdx.y); y < kTile; y += kTileRows) {
      if (column0 + y < columns && row0 + x < rows) {
        out[(column0 + y) * rows + row0 + x] = tile[x * (kTile + 1) + y];
      }
    }
    __syncthreads();
  }
}

void describe_shape(const RnnShape& s, GraphKey& key) {
  key.shape.insert(key.shape.end(), {static_cast<int64_t>(s.cell), s.directions, s.steps, s.batch,
                                     s.rows, s.hidden, s.proj, s.bias, s.drops_h});
  if (s.rows == s.steps * s.batch) return;
  key.shape.insert(key.shape.end(), s.batch_sizes, s.batch_sizes + s.steps);
}

void describe_saved(const StackSaved& saved, GraphKey& key) {
  key.addresses.insert(key.addresses.end(), {saved.gates, saved.h_prev, saved.h_in, saved.c_prev,
                                             saved.u, saved.moments, saved.reset_h});
}

void describe_norms(const NormLoop& n, GraphKey& key) {
  key.addresses.insert(key.addresses.end(),
                       {n.g_hh, n.g_ih, n.g_c, n.b_c, n.bias, n.scratch, n.grads});
}

void describe_units(const UnitWeights& weights, GraphKey& key) {
  key.addresses.insert(key.addresses.end(), std::begin(weights.of), std::end(weights.of));
}

void describe_options(const RnnStepOptions& o, GraphKey& key) {
  if (!o.any()) return;
  key.shape.insert(
      key.shape.end(),
      {std::bit_cast<int32_t>(o.part_h), std::bit_cast<int32_t>(o.part_c), o.h_factor != nullptr,
       o.keep_h != nullptr, o.keep_c != nullptr, o.reset != nullptr, o.mask != nullptr});
  key.addresses.insert(key.addresses.end(), {o.h_factor, o.keep_h, o.keep_c, o.reset, o.mask});
}

int64_t number(const void* address) {
  return static_cast<int64_t>(reinterpret_cast<uintptr_t>(address));
}

}  // namespace

int64_t rnn_workspace_floats(const RnnShape& shape) {
  return with_cell(shape.cell, [&](auto cell) { return RnnWorkspace(cell, shape).floats(); });
}

void queue_feed(const Feed& feed, int64_t row, int64_t rows, const LaunchStream& on) {
  if (!feed.backward) queue_dropout(feed, row, rows, on.stream);
  for (int i = 0; i < feed.count; ++i) {
    Product product = feed.products[i];
    product.m = rows;
    product.a += row * product.lda;
    product.c += row * product.ldc;
    on.blas.multiply(product, on.precision, on.stream);
  }
  if (feed.backward) queue_dropout(feed, row, rows, on.stream);
}

RandomState::RandomState(CudaDevice& device, const RnnShape& s, const RnnDropout& dropout)
    : memory_(device, dropout.p > 0 && s.layers > 1 ? 4 : 0) {
  if (data() == nullptr) return;
  each(device, 1,
       StoreRandom{reinterpret_cast<uint64_t*>(memory_.data()), dropout.seed, dropout.counter});
}

void transpose(CudaDevice& device, const float* in, int64_t rows, int64_t columns, int64_t ld_in,
               float* out) {
  const auto tiles = [](int64_t n) { return (n + kTile - 1) / kTile; };
  const dim3 grid(static_cast<unsigned>(tiles(columns)),
                  static_cast<unsigned>(std::min<int64_t>(tiles(rows), 65535)));
  launch(transpose_kernel, grid, dim3(kTile, kTileRows), 0, device.stream(), in, rows, columns,
         ld_in, out);
}

void describe(const ForwardLoop& l, GraphKey& key) {
  describe_shape(l.shape, key);
  key.shape.insert(key.shape.end(), {0, number(l.name), l.keep, l.h0 != nullptr, l.c0 != nullptr,
                                     l.input.index != nullptr, l.input.row_stride,
                                     l.input.unit_stride, l.input.classes});
  describe_saved(l.saved, key);
  key.addresses.insert(key.addresses.end(), {l.w_hh, l.w_hr, l.bias, l.input.values, l.input.index,
                                             l.h0, l.c0, l.y, l.hn, l.cn, l.product});
  describe_norms(l.norms, key);
  describe_units(l.unit_weights, key);
  describe_options(l.options, key);
}

void describe(const BackwardLoop& l, GraphKey& key) {
  describe_shape(l.shape, key);
  key.shape.insert(key.shape.end(), {1, number(l.name), l.needs_dh0, l.dy != nullptr,
                                     l.dhn != nullptr, l.dcn != nullptr});
  describe_saved(l.saved, key);
  key.addresses.insert(key.addresses.end(), {l.w_hh, l.w_hr, l.dy, l.dhn, l.dcn, l.dh, l.dc,
                                             l.dh_total, l.du, l.unit_sums, l.product});
  describe_norms(l.norms, key);
  describe_units(l.unit_weights, key);
  describe_options(l.options, key);
}

void describe(const Feed& feed, GraphKey& key) {
  key.shape.insert(key.shape.end(), {feed.count, feed.backward, feed.layer, feed.width,
                                     std::bit_cast<int32_t>(feed.p), feed.dropped != nullptr});
  for (int i = 0; i < feed.count; ++i) {
    const Product& p = feed.products[i];
    key.shape.insert(key.shape.end(), {p.n, p.k, p.lda, p.ldb, p.ldc});
    key.addresses.insert(key.addresses.end(), {p.a, p.b, p.c});
  }
  key.addresses.insert(key.addresses.end(), {feed.dropped, feed.random});
}

}  // namespace fused_rnn::cuda
