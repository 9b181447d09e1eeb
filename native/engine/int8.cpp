#include "engine/int8.h"

#include "cpu/int8/kernels.h"

namespace fused_rnn {

Int8Buffers quantize_weights(Executor& executor, const Buffer& w, int64_t groups, int64_t rows,
                             int64_t columns) {
  const Buffer words = w.beside(int8_words(groups, rows, columns), DType::int32);
  const Buffer scales = w.beside(groups * rows);
  executor.enqueue(pure("quantize"), cost::functions(w.length), {w}, {words, scales},
                   [=](const Backend&, Context& context) {
                     const int64_t panels = groups * int8_panels(rows);
                     const int64_t grain = (1 << 16) / (kInt8Rows * columns + 1) + 1;
                     const float* from = w.f32();
                     int32_t* to = words.i32();
                     float* to_scales = scales.f32();
                     context.pool.parallel_for(panels, grain, [&](int64_t first, int64_t last) {
                       int8_kernels().pack(rows, columns, from, to, to_scales, first, last);
                     });
                   });
  return {words, scales};
}

Buffer int8_linear(Executor& executor, const Buffer& x, const Int8Buffers& w, const Buffer& b,
                   int64_t m, int64_t in, int64_t out) {
  const Buffer y = x.beside(m * out);
  executor.enqueue(pure("linear"), cost::product(m, out, in) / 4, {x, w.words, w.scales, b}, {y},
                   [=](const Backend& backend, Context& context) {
                     backend.linear({.x = x.f32(),
                                     .w = nullptr,
                                     .b = b.f32(),
                                     .y = y.f32(),
                                     .m = m,
                                     .in = in,
                                     .out = out,
                                     .int8 = {w.words.i32(), w.scales.f32()}},
                                    context);
                   });
  return y;
}

}  // namespace fused_rnn
