// By index and by order, running results, ranges, classes drawn from probabilities.
#include <array>
#include <cmath>
#include <limits>

#include "test/backends.h"

namespace fused_rnn::test {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

template <class T>
uint32_t* bits(T* x) {
  return reinterpret_cast<uint32_t*>(x);
}

std::string text(const std::vector<int64_t>& shape) {
  std::string all = " [";
  for (size_t i = 0; i < shape.size(); ++i) {
    all += (i > 0 ? ", " : "") + std::to_string(shape[i]);
  }
  return all + "]";
}

// Few different numbers with NaN, infinities and zeros of both signs among them.
std::vector<float> mixed(int64_t n) {
  std::vector<float> values(static_cast<size_t>(n));
  for (size_t i = 0; i < values.size(); ++i) {
    const size_t hash = i * 2654435761u >> 7;
    values[i] = hash % 97 == 3    ? kNaN
                : hash % 31 == 1  ? -kInfinity
                : hash % 29 == 5  ? kInfinity
                : hash % 7 == 2   ? -0.0f
                : hash % 11 == 10 ? 0.0f
                                  : static_cast<float>(hash % 13) - 6;
  }
  return values;
}

void add_index(Cases& cases) {
  // outer, n, m, inner; 48 and 1024 are where the ways of adding up change.
  constexpr std::array<int64_t, 4> kShapes[] = {
      {1, 1, 1, 1},   {1, 5, 0, 1},    {1, 7, 300, 1},     {3, 5, 4, 6}, {2, 40, 49, 3},
      {2, 3, 100, 5}, {1, 9, 5000, 1}, {1, 3000, 1025, 1}, {0, 3, 2, 4}, {4, 3, 7, 300}};
  for (const auto& [outer, n, m, inner] : kShapes) {
    const int64_t count = outer * m * inner, all = outer * n * inner;
    const auto high = static_cast<int32_t>(n);
    cases.add("gather" + text({outer, n, m, inner}), [=](Side& s) {
      s.backend.gather({"gather", bits(s.output("out", count)), bits(s.floats(all)),
                        s.integers(count, 0, high), outer, n, m, inner},
                       s.context);
    });
    for (const bool add : {false, true}) {
      cases.add((add ? "scatter add" : "scatter") + text({outer, n, m, inner}), [=](Side& s) {
        const int32_t* index = s.integers(count, 0, high);
        s.backend.scatter({"scatter", false, add, s.output("out", all), s.floats(all), index,
                           s.floats(count), 0, outer, n, m, inner},
                          s.context);
        s.backend.scatter(
            {"scatter", true, add, s.integer_output("integers", all), s.integers(all, -9, 9), index,
             s.integers(count, -9, 9), 0, outer, n, m, inner},
            s.context);
        s.backend.scatter({"scatter", false, add, s.output("a number", all), nullptr, index,
                           nullptr, 0x40200000, outer, n, m, inner},
                          s.context);
      });
    }
  }
  cases.add(
      "gather beyond",
      [](Side& s) {
        const int32_t* index = s.values(std::vector<int32_t>{0, 1, 3, -1});
        s.backend.gather({"gather", bits(s.output("out", 4)), bits(s.floats(3)), index, 1, 3, 4, 1},
                         s.context);
      },
      "[gather] index[2]: expected a whole number of at least 0 and below 3, got 3");
  cases.add(
      "scatter before",
      [](Side& s) {
        const int32_t* index = s.values(std::vector<int32_t>{0, 1, -1, 3});
        s.backend.scatter({"scatterAdd", false, true, s.output("out", 3), s.floats(3), index,
                           s.floats(4), 0, 1, 3, 4, 1},
                          s.context);
      },
      "[scatterAdd] index[2]: expected a whole number of at least 0 and below 3, got -1");
}

// outer, n, inner
constexpr std::array<int64_t, 3> kLines[] = {
    {1, 1, 1},     {1, 7, 1},     {9, 31, 1},   {3, 513, 1}, {2, 1024, 1}, {1, 1025, 1},
    {1, 16385, 1}, {1, 17000, 1}, {1, 5, 3},    {3, 40, 33}, {2, 257, 5},  {2, 300, 70},
    {300, 2, 1},   {1, 3, 3000},  {30, 3, 300}, {0, 3, 2},   {2, 3, 0}};

void add_lines(Cases& cases) {
  for (const auto& [outer, n, inner] : kLines) {
    const int64_t all = outer * n * inner, rest = outer * inner;
    const std::string shape = text({outer, n, inner});
    for (const bool reverse : {false, true}) {
      cases.add((reverse ? "scan reverse" : "scan") + shape, [=](Side& s) {
        const float* x = s.floats(all);
        const float* around = s.floats(all, 0.9f, 1.1f);
        s.backend.scan(
            {ScanKind::sum, false, reverse, s.output("sum", all), x, nullptr, outer, n, inner},
            s.context);
        s.backend.scan({ScanKind::product, false, reverse, s.output("product", all, 1e-4), around,
                        nullptr, outer, n, inner},
                       s.context);
        s.backend.scan({ScanKind::linear, false, reverse, s.output("linear", all), x, s.floats(all),
                        outer, n, inner},
                       s.context);
        const int32_t* whole = s.integers(all, INT32_MIN, INT32_MAX);
        for (const ScanKind kind : {ScanKind::sum, ScanKind::product}) {
          s.backend.scan({kind, true, reverse, s.integer_output("integers", all), whole, nullptr,
                          outer, n, inner},
                         s.context);
        }
      });
    }
    cases.add("fold" + shape, [=](Side& s) {
      const float* x = s.floats(all, -3, 3);
      for (const double p : {2.0, 1.0, 0.0, 3.0, 0.5, HUGE_VAL, -HUGE_VAL}) {
        s.backend.fold({FoldKind::norm, false, s.output("norm", rest, 1e-4), x, outer, n, inner, p},
                       s.context);
      }
      for (const double p : {0.0, 1.0}) {
        s.backend.fold(
            {FoldKind::variance, false, s.output("variance", rest), x, outer, n, inner, p},
            s.context);
      }
      s.backend.fold(
          {FoldKind::logsumexp, false, s.output("logsumexp", rest), x, outer, n, inner, 0},
          s.context);
      s.backend.fold({FoldKind::product, false, s.output("product", rest, 1e-3),
                      s.floats(all, 0.99f, 1.01f), outer, n, inner, 0},
                     s.context);
      s.backend.fold({FoldKind::product, true, s.integer_output("integers", rest),
                      s.integers(all, -99, 99), outer, n, inner, 0},
                     s.context);
    });
    cases.add("fold with NaN and infinity" + shape, [=](Side& s) {
      const float* x = s.values(mixed(all));
      for (const double p : {2.0, 0.0, HUGE_VAL, -HUGE_VAL}) {
        s.backend.fold({FoldKind::norm, false, s.output("norm", rest), x, outer, n, inner, p},
                       s.context);
      }
      s.backend.fold(
          {FoldKind::logsumexp, false, s.output("logsumexp", rest), x, outer, n, inner, 0},
          s.context);
    });
    cases.add("min" + shape, [=](Side& s) {
      const float* x = s.values(mixed(all));
      s.backend.max({false, true, s.output("value", rest), s.integer_output("index", rest), x,
                     outer, n, inner},
                    s.context);
      s.backend.max({false, true, s.output("value alone", rest), nullptr, x, outer, n, inner},
                    s.context);
      s.backend.max({true, true, s.integer_output("integer value", rest), nullptr,
                     s.integers(all, INT32_MIN, INT32_MAX), outer, n, inner},
                    s.context);
    });
    cases.add("extreme_backward" + shape, [=](Side& s) {
      std::vector<float> x = mixed(all), value(static_cast<size_t>(rest));
      for (int64_t i = 0; i < rest; ++i) {
        value[static_cast<size_t>(i)] =
            x[static_cast<size_t>(((i / inner) * n + i % n) * inner + i % inner)];
      }
      s.backend.extreme_backward(
          {s.output("dx", all), s.floats(rest), s.values(x), s.values(value), outer, n, inner},
          s.context);
    });
  }
  cases.add("fold of nothing", [](Side& s) {
    for (int kind = 0; kind < 4; ++kind) {
      for (const int64_t inner : {1, 3}) {
        s.backend.fold({static_cast<FoldKind>(kind), false, s.output("out", 2 * inner), s.floats(0),
                        2, 0, inner, 1},
                       s.context);
      }
    }
  });
}

void add_sort(Cases& cases) {
  // rows, n, k
  constexpr std::array<int64_t, 3> kRows[] = {
      {1, 1, 1},       {3, 2, 2},       {5, 40, 40},     {5, 41, 41},
      {70, 33, 3},     {2, 1000, 1000}, {3, 1024, 7},    {2, 1025, 1025},
      {1, 3000, 1},    {2, 5001, 5001}, {1, 9000, 9000}, {2, 9000, 40},
      {2, 9000, 3000}, {1, 2048, 512},  {0, 5, 5},       {3, 5, 0}};
  for (const auto& [rows, n, k] : kRows) {
    for (const bool descending : {false, true}) {
      cases.add((descending ? "sort descending" : "sort") + text({rows, n, k}), [=](Side& s) {
        s.backend.sort(
            {false, descending, bits(s.output("values", rows * k)),
             s.integer_output("indices", rows * k), bits(s.values(mixed(rows * n))), rows, n, k},
            s.context);
        s.backend.sort({false, descending, nullptr, s.integer_output("of floats", rows * k),
                        bits(s.floats(rows * n)), rows, n, k},
                       s.context);
        s.backend.sort({true, descending, bits(s.integer_output("integers", rows * k)),
                        s.integer_output("their indices", rows * k),
                        bits(s.integers(rows * n, INT32_MIN, INT32_MAX)), rows, n, k},
                       s.context);
      });
    }
  }
}

void add_creation(Cases& cases) {
  for (const int64_t n : {0, 1, 2, 1001}) {
    cases.add("ramp" + text({n}), [=](Side& s) {
      const double step = 0.37, end = -2 + step * static_cast<double>(n - 1);
      s.backend.ramp({false, s.output("out", n), n, -2, step, end}, s.context);
      s.backend.ramp(
          {true, s.integer_output("integers", n), n, -7, 3, -7 + 3 * static_cast<double>(n - 1)},
          s.context);
    });
  }
  constexpr std::array<int64_t, 5> kBands[] = {{1, 4, 4, -100, 0}, {3, 5, 7, 1, 100},
                                               {2, 7, 5, -2, 1},   {1, 3, 3, 2, 1},
                                               {0, 3, 3, 0, 0},    {2, 3, 300, 100, 200}};
  for (const auto& [batch, rows, columns, low, high] : kBands) {
    cases.add("band" + text({batch, rows, columns, low, high}), [=](Side& s) {
      const int64_t n = batch * rows * columns;
      s.backend.band(
          {bits(s.output("out", n)), bits(s.floats(n)), 0, batch, rows, columns, low, high},
          s.context);
      s.backend.band(
          {bits(s.output("of a number", n)), nullptr, 0x40200000, batch, rows, columns, low, high},
          s.context);
    });
  }
  for (const int64_t n : {1, 5, 1003}) {
    cases.add("random integers" + text({n}), [=](Side& s) {
      RandomArgs args{RandomKind::integer,
                      reinterpret_cast<float*>(s.integer_output("out", n)),
                      n,
                      0,
                      0,
                      7,
                      11};
      args.low = -3;
      args.range = 17;
      s.backend.random(args, s.context);
      args.out = reinterpret_cast<float*>(s.integer_output("any", n));
      args.low = INT32_MIN;
      args.range = int64_t{1} << 32;
      s.backend.random(args, s.context);
    });
  }
  for (const bool replacement : {false, true}) {
    const std::string how = replacement ? "multinomial with replacement" : "multinomial";
    constexpr std::array<int64_t, 3> kDraws[] = {{1, 1, 1}, {3, 7, 5}, {2, 3000, 40}, {0, 3, 2}};
    for (const auto& [rows, classes, samples] : kDraws) {
      cases.add(how + text({rows, classes, samples}), [=](Side& s) {
        s.backend.multinomial(
            {s.integer_output("out", rows * samples), s.floats(rows * classes, 0.1f, 1), rows,
             classes, samples, replacement, 5, 9},
            s.context);
      });
    }
    const auto draw = [=](std::vector<float> p) {
      return [=](Side& s) {
        s.backend.multinomial({s.integer_output("out", 4), s.values(p), 2, 3, 2, replacement, 5, 9},
                              s.context);
      };
    };
    const std::string bad = "[multinomial] probabilities: expected finite numbers of at least 0";
    const std::string few =
        "[multinomial] probabilities: expected enough numbers above 0 in every row";
    cases.add(how + " of zeros among", draw({0, 1, 2, 1, 3, 0}));
    cases.add(how + " of NaN", draw({1, 1, 1, 1, kNaN, 1}), bad);
    cases.add(how + " of less than 0", draw({1, -1, 1, 1, 1, 1}), bad);
    cases.add(how + " of infinity", draw({1, 1, 1, kInfinity, 1, 1}), bad);
    cases.add(how + " of zeros", draw({1, 1, 1, 0, 0, 0}), few);
  }
  cases.add(
      "multinomial of too few",
      [](Side& s) {
        s.backend.multinomial({s.integer_output("out", 2), s.values(std::vector<float>{0, 1, 0}), 1,
                               3, 2, false, 5, 9},
                              s.context);
      },
      "[multinomial] probabilities: expected enough numbers above 0 in every row");
}

}  // namespace

void add_indexing_cases(Cases& cases) {
  add_index(cases);
  add_lines(cases);
  add_sort(cases);
  add_creation(cases);
}

}  // namespace fused_rnn::test
