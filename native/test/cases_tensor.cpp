// Elementwise operations, reductions, shapes.
#include <array>
#include <cmath>
#include <cstring>
#include <limits>

#include "test/backends.h"

namespace fused_rnn::test {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
// Around the sizes at which kernels cut their work.
constexpr int64_t kSizes[] = {0, 1, 3, 4, 33, 256, 1023, 4097, 70001};

// Numbers at which functions have to be careful.
std::vector<float> corners() {
  std::vector<float> values = {0.0f,  -0.0f, 1,         -1,         2.5f,   -2.5f,
                               88.5f, 90,    -90,       1e-20f,     -1e30f, 2147483648.0f,
                               3e9f,  -3e9f, kInfinity, -kInfinity, kNaN};
  for (int i = 0; i < 100; ++i) values.push_back(0.37f * static_cast<float>(i - 50));
  return values;
}

constexpr DType kFloat = DType::float32, kInteger = DType::int32, kBoolean = DType::boolean;

std::string text(const std::vector<int64_t>& shape) {
  std::string all = "[";
  for (size_t i = 0; i < shape.size(); ++i) {
    all += (i > 0 ? ", " : "") + std::to_string(shape[i]);
  }
  return all + "]";
}

void add_elementwise(Cases& cases) {
  for (const int64_t n : kSizes) {
    const std::string size = " [" + std::to_string(n) + "]";
    cases.add("fill" + size,
              [=](Side& s) { s.backend.fill({s.output("out", n), n, 2.5f}, s.context); });
    cases.add("copy" + size, [=](Side& s) {
      s.backend.copy({s.output("out", n), s.floats(n), 4 * n}, s.context);
      s.backend.copy({s.output("kept", n), s.floats(n), 4 * n, true}, s.context);
      s.backend.copy({s.boolean_output("booleans", n), s.booleans(n), n}, s.context);
      s.backend.copy({s.boolean_output("booleans kept", n), s.booleans(n), n, true}, s.context);
    });
    cases.add("add_into" + size, [=](Side& s) {
      s.backend.add_into({s.expect("dst", s.floats(n), n), s.floats(n), n}, s.context);
    });
    cases.add("cast" + size, [=](Side& s) {
      s.backend.cast({s.integer_output("integers", n), s.floats(n, -100, 100), n, kFloat, kInteger},
                     s.context);
      s.backend.cast({s.output("floats", n), s.integers(n, -1000, 1000), n, kInteger, kFloat},
                     s.context);
      s.backend.cast(
          {s.boolean_output("of integers", n), s.integers(n, -1, 2), n, kInteger, kBoolean},
          s.context);
      s.backend.cast({s.output("of booleans", n), s.booleans(n), n, kBoolean, kFloat}, s.context);
      s.backend.cast({s.integer_output("of booleans too", n), s.booleans(n), n, kBoolean, kInteger},
                     s.context);
    });
  }
  cases.add("cast of corners", [](Side& s) {
    const auto values = corners();
    const auto n = static_cast<int64_t>(values.size());
    s.backend.cast({s.integer_output("out", n), s.values(values), n, kFloat, kInteger}, s.context);
    s.backend.cast({s.boolean_output("booleans", n), s.values(values), n, kFloat, kBoolean},
                   s.context);
  });
}

bool has(BinaryOp op, DType type) {
  if (type == kFloat || op >= kFirstRelation) return true;
  if (op == BinaryOp::maximum || op == BinaryOp::minimum) return true;
  if (type == kBoolean) return false;
  return op <= BinaryOp::mul || op == BinaryOp::fmod || op == BinaryOp::remainder;
}

// Numbers of which few are equal, but for relations.
const void* operand(Side& s, DType type, int64_t n, BinaryOp op, float low) {
  const bool relates = op >= kFirstRelation || op == BinaryOp::fmod || op == BinaryOp::remainder;
  if (type == kBoolean) return s.booleans(n);
  if (type == kInteger) return relates ? s.integers(n, -3, 4) : s.integers(n, INT32_MIN, INT32_MAX);
  if (op == BinaryOp::powBase || op == BinaryOp::powExponent || op == BinaryOp::pow) low = 0.5f;
  return s.floats(n, low, 2);
}

void add_binary(Cases& cases) {
  struct Shape {
    std::vector<int64_t> shape, a, b;
  };
  const Shape shapes[] = {
      {{}, {}, {}},
      {{0}, {1}, {1}},
      {{1}, {1}, {1}},
      {{1000}, {1}, {1}},
      {{70003}, {1}, {0}},
      {{1001}, {0}, {1}},
      {{1001}, {0}, {0}},
      {{7, 13}, {13, 1}, {0, 1}},
      {{7, 13}, {13, 1}, {1, 0}},
      {{7, 13}, {1, 0}, {0, 1}},
      {{33, 64}, {64, 1}, {64, 1}},
      {{3, 0, 5}, {0, 5, 1}, {0, 5, 1}},
      {{3, 4, 5}, {20, 5, 1}, {5, 0, 1}},
      {{2, 3, 1, 5, 4}, {60, 20, 20, 4, 1}, {0, 5, 0, 1, 0}},
      {{2, 1, 3, 2, 2, 1, 2, 3}, {36, 0, 12, 6, 3, 0, 0, 1}, {0, 0, 1, 0, 3, 0, 6, 0}}};
  for (const Shape& shape : shapes) {
    for (int op = 0; op <= static_cast<int>(BinaryOp::ge); ++op) {
      for (const DType type : {kFloat, kInteger, kBoolean}) {
        if (!has(static_cast<BinaryOp>(op), type)) continue;
        cases.add("binary " + std::to_string(op) + " of " + std::to_string(static_cast<int>(type)) +
                      " " + text(shape.shape),
                  [=](Side& s) {
                    BinaryArgs args{};
                    args.op = static_cast<BinaryOp>(op);
                    args.type = type;
                    args.dims = static_cast<int32_t>(shape.shape.size());
                    int64_t n = 1, a = 1, b = 1;
                    for (size_t d = 0; d < shape.shape.size(); ++d) {
                      args.shape[d] = shape.shape[d];
                      args.a_strides[d] = shape.a[d];
                      args.b_strides[d] = shape.b[d];
                      n *= shape.shape[d];
                      a += (shape.shape[d] - 1) * shape.a[d];
                      b += (shape.shape[d] - 1) * shape.b[d];
                    }
                    if (n == 0) a = b = 0;
                    args.a = operand(s, type, a, args.op, -1);
                    args.b = operand(s, type, b, args.op, 0.5f);
                    const bool relates = args.op >= kFirstRelation;
                    args.out = type == kBoolean || relates ? s.boolean_output("out", n)
                               : type == kInteger ? static_cast<void*>(s.integer_output("out", n))
                                                  : s.output("out", n);
                    s.backend.binary(args, s.context);
                  });
      }
    }
  }
  for (const BinaryOp op :
       {BinaryOp::maximum, BinaryOp::minimum, BinaryOp::maximumShare, BinaryOp::eq, BinaryOp::ne,
        BinaryOp::lt, BinaryOp::ge, BinaryOp::pow}) {
    cases.add("binary " + std::to_string(static_cast<int>(op)) + " of corners and a number",
              [=](Side& s) {
                const std::vector<float> some = corners();
                const auto n = static_cast<int64_t>(some.size());
                for (const float number : {2.5f, kNaN, 0.0f, kInfinity}) {
                  BinaryArgs args{};
                  args.op = op;
                  args.type = kFloat;
                  args.dims = 1;
                  args.shape[0] = n;
                  args.a_strides[0] = 1;
                  args.a = s.values(some);
                  std::memcpy(&args.number, &number, 4);
                  args.out = op >= kFirstRelation ? static_cast<void*>(s.boolean_output("out", n))
                                                  : s.output("out", n);
                  s.backend.binary(args, s.context);
                }
              });
  }
}

void add_where(Cases& cases) {
  struct Shape {
    std::vector<int64_t> shape, c, a, b;
  };
  const Shape shapes[] = {{{}, {}, {}, {}},
                          {{0}, {1}, {1}, {1}},
                          {{70003}, {1}, {1}, {1}},
                          {{1001}, {1}, {0}, {1}},
                          {{1001}, {1}, {1}, {0}},
                          {{1001}, {0}, {1}, {1}},
                          {{7, 13}, {1, 0}, {13, 1}, {0, 1}},
                          {{7, 13}, {0, 1}, {13, 1}, {0, 0}},
                          {{3, 4, 5}, {5, 0, 1}, {20, 5, 1}, {0, 5, 1}}};
  for (const Shape& shape : shapes) {
    for (const bool bytes : {false, true}) {
      for (const int numbers : {0, 1, 2, 3}) {
        cases.add("where " + text(shape.shape) + (bytes ? " of booleans " : " ") +
                      std::to_string(numbers),
                  [=](Side& s) {
                    WhereArgs args{};
                    args.bytes = bytes;
                    args.a_number = args.b_number = 1;
                    args.dims = static_cast<int32_t>(shape.shape.size());
                    int64_t n = 1, c = 1, a = 1, b = 1;
                    for (size_t d = 0; d < shape.shape.size(); ++d) {
                      const int64_t size = args.shape[d] = shape.shape[d];
                      args.c_strides[d] = shape.c[d];
                      args.a_strides[d] = (numbers & 1) != 0 ? 0 : shape.a[d];
                      args.b_strides[d] = (numbers & 2) != 0 ? 0 : shape.b[d];
                      n *= size;
                      c += (size - 1) * args.c_strides[d];
                      a += (size - 1) * args.a_strides[d];
                      b += (size - 1) * args.b_strides[d];
                    }
                    if (n == 0) a = b = c = 0;
                    const auto values = [&](int64_t count) -> const void* {
                      if (bytes) return s.booleans(count);
                      return s.integers(count, -9, 9);
                    };
                    args.condition = s.booleans(c);
                    if ((numbers & 1) == 0) args.a = values(a);
                    if ((numbers & 2) == 0) args.b = values(b);
                    // Nothing of an empty array is a number.
                    if (n == 0) args.a = args.b = args.condition;
                    args.out = bytes ? static_cast<void*>(s.boolean_output("out", n))
                                     : s.integer_output("out", n);
                    s.backend.where(args, s.context);
                  });
      }
    }
  }
}

void add_unary(Cases& cases) {
  for (int op = 0; op <= static_cast<int>(UnaryOp::nanToNum); ++op) {
    for (const double p : {0.0, 2.0, 3.0, -0.5}) {
      if (p != 0 && static_cast<UnaryOp>(op) != UnaryOp::pow) continue;
      for (const int64_t n : {int64_t{0}, int64_t{1}, int64_t{517}, int64_t{-1}}) {
        const std::string name = "unary " + std::to_string(op) + " p " + std::to_string(p) +
                                 (n < 0 ? " of corners" : " [" + std::to_string(n) + "]");
        cases.add(name, [=](Side& s) {
          const std::vector<float> some = corners();
          const int64_t count = n < 0 ? static_cast<int64_t>(some.size()) : n;
          const auto input = [&] { return n < 0 ? s.values(some) : s.floats(n, -3, 3); };
          const auto which = static_cast<UnaryOp>(op);
          const bool clamps = which == UnaryOp::clamp || which == UnaryOp::hardtanh;
          const bool open = which == UnaryOp::softplus;  // p: beta, q: threshold
          const double q = clamps ? 1.5 : open ? 20 : 0, first = open ? 1.5 : p;
          s.backend.unary({which, false, s.output("out", count), input(), count, first, q, -1},
                          s.context);
          s.backend.unary_backward(
              {which, s.output("dx", count), s.floats(count), input(), count, first, q, -1},
              s.context);
        });
      }
    }
  }
  for (const UnaryOp op : {UnaryOp::neg, UnaryOp::abs, UnaryOp::clamp, UnaryOp::relu, UnaryOp::sign,
                           UnaryOp::square}) {
    cases.add("unary of integers " + std::to_string(static_cast<int>(op)), [=](Side& s) {
      s.backend.unary(
          {op, true, s.integer_output("out", 5),
           s.values(std::vector<int32_t>{INT32_MIN, -7, 0, 3, INT32_MAX}), 5, -5.5, 1e12, 0},
          s.context);
    });
  }
}

// outer, n, inner
constexpr std::array<int64_t, 3> kReductions[] = {
    {1, 1, 1},     {1, 7, 1},     {5, 31, 1},   {3, 513, 1},   {2, 8192, 1}, {1, 8193, 1},
    {2, 40001, 1}, {1, 5, 3},     {3, 40, 33},  {1, 256, 64},  {1, 257, 1},  {2, 257, 5},
    {2, 1000, 70}, {70000, 2, 1}, {1, 3, 3000}, {300, 3, 300}, {0, 3, 2},    {2, 3, 0}};

void add_reductions(Cases& cases) {
  for (const auto& [outer, n, inner] : kReductions) {
    const std::string shape = " " + text({outer, n, inner});
    const int64_t all = outer * n * inner, rest = outer * inner;
    cases.add("sum" + shape, [=](Side& s) {
      s.backend.sum({false, s.output("out", rest), s.floats(all), outer, n, inner, 0.5f},
                    s.context);
      s.backend.sum({true, s.integer_output("integers", rest),
                     s.integers(all, INT32_MIN, INT32_MAX), outer, n, inner, 1},
                    s.context);
    });
    // Few different numbers, so that many are equal.
    cases.add("max" + shape, [=](Side& s) {
      std::vector<float> values(static_cast<size_t>(all));
      for (size_t i = 0; i < values.size(); ++i) {
        const size_t mixed = i * 2654435761u >> 7;
        values[i] = mixed % 97 == 3   ? kNaN
                    : mixed % 11 == 1 ? -kInfinity
                                      : static_cast<float>(mixed % 13);
      }
      const float* x = s.values(values);
      s.backend.max({false, false, s.output("value", rest), s.integer_output("index", rest), x,
                     outer, n, inner},
                    s.context);
      s.backend.max({false, false, nullptr, s.integer_output("index alone", rest), s.floats(all),
                     outer, n, inner},
                    s.context);
      s.backend.max(
          {true, false, s.integer_output("integer value", rest),
           s.integer_output("integer index", rest), s.integers(all, -5, 5), outer, n, inner},
          s.context);
    });
    cases.add("max_backward" + shape, [=](Side& s) {
      const int32_t* index = s.integers(rest, 0, static_cast<int32_t>(n));
      s.backend.max_backward({s.output("dx", all), s.floats(rest), index, outer, n, inner},
                             s.context);
    });
    for (const bool log : {false, true}) {
      cases.add(std::string("softmax") + (log ? " log" : "") + shape, [=](Side& s) {
        s.backend.softmax({log, s.output("y", all), s.floats(all, -9, 9), outer, n, inner},
                          s.context);
        const float* y = log ? s.floats(all, -5, 0) : s.floats(all, 0, 1);
        s.backend.softmax_backward(
            {log, s.output("dx", all, 1e-4), s.floats(all), y, outer, n, inner}, s.context);
      });
    }
  }
  cases.add("sum of nothing", [](Side& s) {
    s.backend.sum({false, s.output("rows", 3), s.floats(0), 3, 0, 1, 1}, s.context);
    s.backend.sum({false, s.output("columns", 15), s.floats(0), 3, 0, 5, 1}, s.context);
  });
  cases.add("softmax of infinities and NaN", [](Side& s) {
    const float* x = s.values(std::vector<float>{1, -kInfinity, 2, kInfinity, 0, 1, kNaN, 1, 2,
                                                 -kInfinity, -kInfinity, -kInfinity});
    for (const bool log : {false, true}) {
      s.backend.softmax({log, s.output("rows", 12), x, 4, 3, 1}, s.context);
      s.backend.softmax({log, s.output("columns", 12), x, 1, 6, 2}, s.context);
    }
  });
}

void add_shapes(Cases& cases) {
  struct Strided {
    std::vector<int64_t> shape, strides;
    int64_t offset, size;
  };
  const Strided all[] = {{{}, {}, 0, 1},
                         {{5}, {1}, 0, 5},
                         {{0, 3}, {3, 1}, 0, 0},
                         {{5}, {-1}, 4, 5},
                         {{1000}, {3}, 0, 3000},
                         {{40, 50}, {1, 40}, 0, 2000},  // transposed
                         {{33, 31}, {1, 33}, 0, 1023},
                         {{3, 40, 50}, {2000, 1, 40}, 0, 6000},  // the last two
                         {{40, 3, 50}, {1, 2000, 40}, 0, 6000},
                         {{50, 4, 7}, {1, 50, 200}, 0, 1400},
                         {{2, 3, 4, 5}, {60, 5, 15, 1}, 0, 120},  // the middle two
                         {{6, 7, 8}, {0, 1, 0}, 0, 7},            // expanded
                         {{10, 20}, {100, 2}, 3, 1000},           // a slice
                         {{4, 5}, {-5, -1}, 19, 20},              // both turned round
                         {{2, 1, 3, 1, 2, 2, 2, 2}, {1, 9, 2, 9, 6, 12, 24, 48}, 0, 96},
                         {{1, 300, 1, 200}, {1, 1, 1, 300}, 0, 60000}};
  for (const Strided& one : all) {
    cases.add("copy_strided " + text(one.shape) + " " + text(one.strides), [=](Side& s) {
      CopyStridedArgs args{};
      args.dims = static_cast<int32_t>(one.shape.size());
      int64_t n = 1;
      for (size_t d = 0; d < one.shape.size(); ++d) {
        args.shape[d] = one.shape[d];
        args.strides[d] = one.strides[d];
        n *= one.shape[d];
      }
      args.in = s.floats(one.size) + one.offset;
      args.out = s.output("out", n);
      s.backend.copy_strided(args, s.context);
      args.bytes = true;
      args.in = s.booleans(one.size) + one.offset;
      args.out = s.boolean_output("booleans", n);
      s.backend.copy_strided(args, s.context);
    });
  }
  for (const int64_t outer : {0, 1, 5, 300}) {
    for (const size_t count : {1, 3, 300}) {
      cases.add("concat of " + std::to_string(count) + " x " + std::to_string(outer), [=](Side& s) {
        std::vector<const void*> ins, masks;
        std::vector<int64_t> widths;
        int64_t total = 0;
        for (size_t i = 0; i < count; ++i) {
          widths.push_back(static_cast<int64_t>(i * 7 % 5));
          if (count == 1) widths.back() = 12;
          ins.push_back(i % 4 == 2 ? nullptr : s.floats(outer * widths.back()));
          masks.push_back(i % 4 == 2 ? nullptr : s.booleans(outer * widths.back()));
          total += widths.back();
        }
        const auto number = static_cast<int64_t>(count);
        s.backend.concat(
            {s.output("out", outer * total), ins.data(), widths.data(), number, outer, false},
            s.context);
        s.backend.concat({s.boolean_output("booleans", outer * total), masks.data(), widths.data(),
                          number, outer, true},
                         s.context);
      });
    }
  }
}

}  // namespace

void add_tensor_cases(Cases& cases) {
  add_elementwise(cases);
  add_binary(cases);
  add_where(cases);
  add_unary(cases);
  add_reductions(cases);
  add_shapes(cases);
}

}  // namespace fused_rnn::test
