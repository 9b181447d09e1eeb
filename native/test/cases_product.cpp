// Products of matrices, linear layers, rows by index.
#include <array>

#include "test/backends.h"

namespace fused_rnn::test {
namespace {

void add_products(Cases& cases) {
  struct Batch {
    std::vector<int64_t> shape, a, b;
  };
  const Batch batches[] = {{{}, {}, {}},
                           {{3}, {1}, {1}},
                           {{3}, {1}, {0}},
                           {{3}, {0}, {1}},
                           {{1}, {0}, {0}},
                           {{0}, {1}, {1}},
                           {{2, 3}, {3, 1}, {0, 1}},
                           {{2, 3}, {1, 0}, {3, 1}},
                           {{2, 1, 3, 2}, {3, 3, 1, 0}, {2, 2, 0, 1}}};
  const std::array<int64_t, 3> sizes[] = {{1, 1, 1}, {5, 7, 3}, {33, 20, 17}, {0, 4, 3}, {4, 3, 0}};
  for (const Batch& batch : batches) {
    for (const auto& [m, n, k] : sizes) {
      for (int trans = 0; trans < 4; ++trans) {
        cases.add("matmul of " + std::to_string(batch.shape.size()) + " batch dimensions, m " +
                      std::to_string(m) + " n " + std::to_string(n) + " k " + std::to_string(k) +
                      " trans " + std::to_string(trans),
                  [=](Side& s) {
                    MatmulArgs args{};
                    args.m = m, args.n = n, args.k = k;
                    args.trans_a = trans & 1, args.trans_b = trans & 2;
                    args.dims = static_cast<int32_t>(batch.shape.size());
                    int64_t count = 1, a = 1, b = 1;
                    for (size_t d = 0; d < batch.shape.size(); ++d) {
                      args.shape[d] = batch.shape[d];
                      args.a_strides[d] = batch.a[d];
                      args.b_strides[d] = batch.b[d];
                      count *= batch.shape[d];
                      a += (batch.shape[d] - 1) * batch.a[d];
                      b += (batch.shape[d] - 1) * batch.b[d];
                    }
                    if (count == 0) a = b = 0;
                    args.a = s.floats(a * m * k);
                    args.b = s.floats(b * k * n);
                    args.out = s.output("out", count * m * n);
                    s.backend.matmul(args, s.context);
                  });
      }
    }
  }
  const std::array<int64_t, 3> layers[] = {{1, 1, 1},     {7, 5, 3}, {70, 33, 64},
                                           {300, 16, 20}, {0, 3, 4}, {5, 0, 4}};
  for (const auto& [m, in, out] : layers) {
    for (const bool bias : {false, true}) {
      cases.add("linear " + std::to_string(m) + " x " + std::to_string(in) + " x " +
                    std::to_string(out) + (bias ? " with bias" : ""),
                [=](Side& s) {
                  const float *x = s.floats(m * in), *w = s.floats(out * in),
                              *dy = s.floats(m * out);
                  s.backend.linear(
                      {x, w, bias ? s.floats(out) : nullptr, s.output("y", m * out), m, in, out},
                      s.context);
                  s.backend.linear_backward(
                      {dy, x, w, s.output("dx", m * in, 1e-4), s.output("dw", out * in, 1e-4),
                       bias ? s.output("db", out, 1e-4) : nullptr, m, in, out},
                      s.context);
                });
    }
  }
}

// outer, rows, width, n
constexpr std::array<int64_t, 4> kRows[] = {
    {1, 5, 4, 7},       {1, 100, 64, 1000}, {1, 3000, 16, 200}, {3, 7, 5, 20},
    {1, 1, 1, 1},       {2, 4, 3, 0},       {1, 4, 0, 3},       {1, 2, 8, 3000},
    {1, 65, 130, 9000}, {2, 300, 260, 500}, {1, 40, 1, 999},    {0, 3, 4, 5}};

void add_rows(Cases& cases) {
  for (const auto& [outer, rows, width, n] : kRows) {
    for (const bool absent : {false, true}) {
      const std::string name = " [" + std::to_string(outer) + ", " + std::to_string(rows) + ", " +
                               std::to_string(width) + "] by " + std::to_string(n) +
                               (absent ? " with absent" : "");
      const int32_t lowest = absent ? -1 : 0, limit = static_cast<int32_t>(rows);
      cases.add("gather_rows" + name, [=](Side& s) {
        const int32_t* index = s.integers(n, lowest, limit);
        const float* x = s.floats(outer * rows * width);
        float* y = s.output("y", outer * n * width);
        s.backend.gather_rows({"embedding", x, index, y, outer, rows, width, n, absent, 0x3f800000},
                              s.context);
        const uint8_t* mask = s.booleans(outer * rows * width);
        s.backend.gather_rows(
            {"indexSelect", mask, index, s.boolean_output("booleans", outer * n * width), outer,
             rows, width, n, absent, 1, true},
            s.context);
      });
      cases.add("scatter_add_rows" + name, [=](Side& s) {
        const int32_t* index = s.integers(n, lowest, limit);
        s.backend.scatter_add_rows(
            {s.floats(outer * n * width), index, s.output("dx", outer * rows * width), outer, rows,
             width, n, absent ? rows / 2 : -1},
            s.context);
      });
    }
  }
  // The lengths of runs, and the width; the first run is of rows below 0.
  const auto runs = [&](std::vector<int64_t> lengths, int64_t width) {
    std::vector<int32_t> sorted;
    for (size_t k = 0; k < lengths.size(); ++k) {
      sorted.insert(sorted.end(), static_cast<size_t>(lengths[k]), static_cast<int32_t>(3 * k) - 1);
    }
    const auto n = static_cast<int64_t>(sorted.size());
    cases.add("sum_runs of " + std::to_string(n) + " by " + std::to_string(width), [=](Side& s) {
      std::vector<int32_t> order;
      for (int64_t i = 0; i < n; ++i) order.push_back(static_cast<int32_t>(n - 1 - i));
      int32_t* index = s.integer_output("index", n);
      s.backend.sum_runs({s.values(sorted), s.values(order), s.floats(n * width), index,
                          s.output("sums", n * width), n, width},
                         s.context);
    });
  };
  runs({}, 3);
  runs({0, 1}, 4);
  runs({3, 1, 2, 0, 4}, 5);
  runs({0, 700, 1, 1, 300}, 64);
  runs({1, 5, 6}, 1000);
  const auto bad = [](std::vector<int32_t> index, bool absent) {
    return [=](Side& s) {
      const auto n = static_cast<int64_t>(index.size());
      const float* x = s.floats(40);
      float* y = s.output("y", n * 4);
      s.backend.gather_rows({"embedding", x, s.values(index), y, 1, 10, 4, n, absent, 0},
                            s.context);
    };
  };
  cases.add("gather_rows beyond the rows", bad({1, 2, 10, 3, -1}, false),
            "[embedding] index[2]: expected a whole number of at least 0 and below 10, got 10");
  cases.add("gather_rows before the rows", bad({1, 2, 1, -1, 11}, false),
            "[embedding] index[3]: expected a whole number of at least 0 and below 10, got -1");
  cases.add("gather_rows before the absent", bad({1, -1, 1, -2, 11}, true),
            "[embedding] index[3]: expected a whole number of at least 0 and below 10, got -2");
}

}  // namespace

void add_product_cases(Cases& cases) {
  add_products(cases);
  add_rows(cases);
}

}  // namespace fused_rnn::test
