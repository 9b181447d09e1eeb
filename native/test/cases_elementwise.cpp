// Recurrent layers without a recurrent matrix, forward and backward.
#include "test/backends.h"

namespace fused_rnn::test {
namespace {

struct Batch {
  const char* name;
  int64_t hidden;
  std::vector<int32_t> sizes;
};

struct Absent {
  const char* name;
  bool state, bias, gradients;
  bool reset = false, mask = false;  // these are there
};

void run(Side& s, ElementwiseKind kind, const Batch& batch, bool reverse, const Absent& absent,
         float scale) {
  ElementwiseShape shape{kind,           static_cast<int64_t>(batch.sizes.size()),
                         batch.sizes[0], 0,
                         batch.hidden,   batch.sizes.data(),
                         reverse};
  for (const int32_t size : batch.sizes) shape.rows += size;
  const int64_t outputs = shape.rows * shape.hidden, states = shape.batch * shape.hidden;
  const int64_t v = shape.v_rows() * shape.hidden, b = shape.b_rows() * shape.hidden;
  const int64_t a = outputs * shape.blocks();
  const bool no_bias = absent.bias || b == 0;
  // u of a relu without a bound would let values grow with every step. SRU adds values as large as
  // the scale, so that little is left of them; times v, they would open and shut gates by what is
  // rounded.
  const bool large = shape.sru() && scale > 1;
  const float most = large ? 0.9f / scale : 0.9f;
  const double slack = large ? scale / 2 : 1;
  ElementwiseInputs in{s.floats(a, -scale, scale), shape.skip() ? s.floats(outputs) : nullptr,
                       v > 0 ? s.floats(v, -most, most) : nullptr, no_bias ? nullptr : s.floats(b),
                       absent.state ? nullptr : s.floats(states, 0, 2)};
  if (absent.reset) in.reset = s.booleans(shape.rows);
  if (absent.mask) in.mask = s.booleans(shape.rows);
  float* y = s.output("y", outputs, 2e-5 * slack);
  float* last = s.output("last", states, 2e-5 * slack);
  float* own = shape.own_state() ? s.output("states", outputs, 2e-5 * slack) : nullptr;
  s.backend.elementwise_forward({shape, in, y, last, own}, s.context);
  const auto wanted = [&](const char* name, int64_t n, bool there) -> float* {
    return there && !absent.gradients ? s.output(name, n, 1e-4 * slack) : nullptr;
  };
  s.backend.elementwise_backward(
      {shape, in, shape.own_state() ? own : y, s.floats(outputs),
       absent.gradients ? nullptr : s.floats(states), s.output("da", a, 1e-4 * slack),
       wanted("dx", outputs, shape.skip()), wanted("dv", v, v > 0), wanted("db", b, b > 0),
       wanted("dstate0", states, true)},
      s.context);
}

}  // namespace

void add_elementwise_cases(Cases& cases) {
  const Batch batches[] = {{"one step", 5, {3}},
                           {"equal", 33, std::vector<int32_t>(6, 3)},
                           {"packed", 7, {5, 5, 5, 4, 4, 2, 1, 1}},
                           {"wide", 300, std::vector<int32_t>(3, 17)},
                           {"long", 3, std::vector<int32_t>(700, 2)},
                           {"long, packed", 2, {}},
                           {"steps without rows", 4, {4, 3, 3, 2, 2, 0, 0}}};
  const char* const names[] = {"indrnn relu", "indrnn tanh", "sru",
                               "sru skip",    "min gru",     "min lstm"};
  const Absent absents[] = {{"", false, false, false},
                            {", no state", true, false, false},
                            {", no bias", false, true, false},
                            {", fewest gradients", true, true, true},
                            {", mask", false, false, false, false, true},
                            {", reset and mask", false, false, false, true, true}};
  for (int32_t kind = 0; kind < kElementwiseKinds; ++kind) {
    for (Batch batch : batches) {
      if (batch.sizes.empty()) {
        for (int32_t n = 6; n > 0; --n) batch.sizes.insert(batch.sizes.end(), 60 * size_t(n), n);
      }
      for (const bool reverse : {false, true}) {
        for (const Absent& absent : absents) {
          for (const float scale : {1.0f, 200.0f}) {
            if (absent.mask && scale > 1) continue;
            // Beyond its kinks and where gates are shut, gradients are as exact as elsewhere; the
            // values of a relu are as large as the scale.
            cases.add(std::string("elementwise ") + names[kind] + ", " + batch.name +
                          (reverse ? ", reverse" : "") + absent.name + (scale > 1 ? ", large" : ""),
                      [=](Side& s) {
                        run(s, static_cast<ElementwiseKind>(kind), batch, reverse, absent, scale);
                      });
          }
        }
      }
    }
  }
}

}  // namespace fused_rnn::test
