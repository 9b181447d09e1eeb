// Recurrent layers, forward and backward, and the fused gradient of a linear layer under a cross
// entropy.
#include <algorithm>

#include "test/backends.h"
#include "test/rnn_run.h"

namespace fused_rnn::test {
namespace {

// Each of RnnStepOptions alone, then all of them.
void add_options(Cases& cases, CellKind cell) {
  using Zoneout = RnnCase::Zoneout;
  struct Options {
    const char* name;
    bool drops_h, reset, mask;
    Zoneout zoneout;
  };
  for (const auto& [name, drops_h, reset, mask, zoneout] :
       {Options{"recurrent dropout", true, false, false, Zoneout::none},
        {"reset", false, true, false, Zoneout::none},
        {"mask", false, false, true, Zoneout::none},
        {"zoneout", false, false, false, Zoneout::drawn},
        {"expected zoneout", false, false, false, Zoneout::expected},
        {"all options", true, true, true, Zoneout::drawn}}) {
    for (const int64_t hidden : {7, 37}) {
      for (int64_t directions = 1; directions <= 2; ++directions) {
        for (const int64_t proj : {0, 5}) {
          if (proj > 0 && !has_c(cell)) continue;
          for (const bool states : {false, true}) {
            add_rnn(cases,
                    {.name = std::string(traits_of(cell).name) + ", " + name + ", hidden " +
                             std::to_string(hidden) + ", directions " + std::to_string(directions) +
                             (proj > 0 ? ", projection" : "") + (states ? ", states" : ""),
                     .cell = cell,
                     .layers = states ? 2 : 1,
                     .directions = directions,
                     .input = 5,
                     .hidden = hidden,
                     .proj = proj,
                     .bias = true,
                     .sizes = {6, 6, 6, 5, 5, 3, 1, 1, 1},
                     .states = states,
                     .drops_h = drops_h,
                     .reset = reset,
                     .mask = mask,
                     .zoneout = zoneout});
          }
        }
      }
    }
  }
}

void add_recurrent(Cases& cases) {
  struct Batch {
    const char* name;
    std::vector<int32_t> sizes;
  };
  const Batch batches[] = {{"one step", {3}},
                           {"equal", std::vector<int32_t>(6, 3)},
                           {"packed", {5, 5, 5, 4, 4, 2, 1, 1}},
                           {"long", std::vector<int32_t>(18, 2)},
                           {"packed, long", {6, 6, 5, 5, 5, 5, 4, 4, 2, 2, 2, 1, 1}},
                           {"one sequence", std::vector<int32_t>(5, 1)},
                           {"packed, steps without rows", {4, 3, 3, 2, 2, 0, 0}}};
  for (const CellKind cell : kCells) {
    const std::string cell_name = traits_of(cell).name;
    for (const auto& [batch_name, sizes] : batches) {
      for (int64_t layers = 1; layers <= 3; ++layers) {
        for (int64_t directions = 1; directions <= 2; ++directions) {
          for (const int64_t proj : {0, 3}) {
            if (proj > 0 && !has_c(cell)) continue;
            for (const bool bias : {false, true}) {
              for (const bool states : {false, true}) {
                RnnCase c{.name = cell_name + ", " + batch_name + ", layers " +
                                  std::to_string(layers) + ", directions " +
                                  std::to_string(directions) + (proj > 0 ? ", projection" : "") +
                                  (bias ? ", bias" : "") + (states ? ", states" : ""),
                          .cell = cell,
                          .layers = layers,
                          .directions = directions,
                          .input = 5,
                          .hidden = 7,
                          .proj = proj,
                          .bias = bias,
                          .sizes = sizes,
                          .states = states};
                const std::string name = c.name;
                // What is independent of the rest goes around in turn.
                if (layers > 1 && bias) c.dropout = states ? 0.4f : 0.0f;
                add_rnn(cases, c);
                c.name = name + ", inference";
                c.keep = false;
                add_rnn(cases, c);
                c.keep = true;
                if (layers != 2) continue;
                c.name = name + ", one-hot";
                c.one_hot = true;
                add_rnn(cases, c);
                c.one_hot = false;
                c.name = name + ", some gradients";
                c.some_grads = true;
                add_rnn(cases, c);
                c.some_grads = false;
                c.name = name + ", no dy";
                c.no_dy = true;
                add_rnn(cases, c);
              }
            }
          }
        }
      }
    }
    add_options(cases, cell);
    // Beyond one block of units, and one-hot rows in a table.
    for (const bool one_hot : {false, true}) {
      add_rnn(cases, {.name = cell_name + ", wider" + (one_hot ? ", one-hot" : ""),
                      .cell = cell,
                      .layers = 2,
                      .directions = 2,
                      .input = 30,
                      .hidden = 133,
                      .proj = has_c(cell) ? 37 : 0,
                      .bias = true,
                      .sizes = {9, 9, 9, 8, 7, 3},
                      .states = true,
                      .dropout = 0.3f,
                      .one_hot = one_hot});
    }
    // More unit tiles of a persistent kernel than a cluster has blocks, the last one not full, and
    // more sequences than a tile.
    for (const int64_t directions : {1, 2}) {
      add_rnn(cases,
              {.name = cell_name + ", many unit tiles, directions " + std::to_string(directions),
               .cell = cell,
               .layers = 1,
               .directions = directions,
               .input = 4,
               .hidden = 139,
               .proj = 0,
               .bias = true,
               .sizes = {19, 19, 18, 17, 16, 5, 1},
               .states = true});
    }
    // The same of each of some layers.
    for (const float dropout : {0.0f, 0.3f}) {
      add_rnn(cases,
              {.name = cell_name + ", layers of unit tiles" + (dropout > 0 ? ", dropout" : ""),
               .cell = cell,
               .layers = 3,
               .directions = 1,
               .input = 4,
               .hidden = 41,
               .proj = 0,
               .bias = dropout > 0,
               .sizes = {19, 19, 18, 17, 16, 5, 1},
               .states = true,
               .dropout = dropout});
    }
    // More layers than streams, and a last chunk of the steps that is not full.
    for (const bool packed : {false, true}) {
      std::vector<int32_t> sizes(19, 4);
      if (packed) std::fill(sizes.begin() + 6, sizes.begin() + 13, 3);
      if (packed) std::fill(sizes.begin() + 13, sizes.end(), 1);
      add_rnn(cases, {.name = cell_name + ", deep" + (packed ? ", packed" : ""),
                      .cell = cell,
                      .layers = 6,
                      .directions = 1,
                      .input = 3,
                      .hidden = 9,
                      .proj = has_c(cell) && packed ? 5 : 0,
                      .bias = true,
                      .sizes = sizes,
                      .states = true,
                      .dropout = packed ? 0.3f : 0.0f,
                      .one_hot = packed});
    }
    add_rnn(cases, {.name = cell_name + ", everything dropped",
                    .cell = cell,
                    .layers = 2,
                    .directions = 1,
                    .input = 4,
                    .hidden = 6,
                    .proj = 0,
                    .bias = true,
                    .sizes = std::vector<int32_t>(5, 2),
                    .states = true,
                    .dropout = 1});
    add_rnn(cases, {.name = cell_name + ", no sequences",
                    .cell = cell,
                    .layers = 2,
                    .directions = 2,
                    .input = 4,
                    .hidden = 6,
                    .proj = 0,
                    .bias = true,
                    .sizes = {0, 0},
                    .states = true});
  }
}

void add_linear_cross_entropy(Cases& cases) {
  struct Size {
    int64_t m, in, out;
  };
  for (const auto& [m, in, out] : {Size{1, 1, 2}, {7, 5, 3}, {64, 20, 33}, {1100, 8, 40}}) {
    for (const Reduction reduction : {Reduction::none, Reduction::mean, Reduction::sum}) {
      for (const float smoothing : {0.0f, 0.1f}) {
        for (int wanted = 1; wanted < 8; wanted += 2) {
          cases.add("linear_cross_entropy_backward " + std::to_string(m) + " x " +
                        std::to_string(in) + " x " + std::to_string(out) + " reduction " +
                        std::to_string(static_cast<int>(reduction)) + " smoothing " +
                        std::to_string(smoothing) + " wanted " + std::to_string(wanted),
                    [=](Side& s) {
                      const CrossEntropyShape shape{m, out, 1, smoothing, false, reduction};
                      const int64_t losses = reduction == Reduction::none ? m : 1;
                      const float *logits = s.floats(m * out, -3, 3), *dloss = s.floats(losses);
                      const int32_t* target = s.integers(m, 0, static_cast<int32_t>(out));
                      float *loss = s.output("loss", losses), *lse = s.output("lse", m);
                      s.backend.cross_entropy_forward({shape, logits, target, loss, lse},
                                                      s.context);
                      const float *x = s.floats(m * in), *w = s.floats(out * in);
                      s.backend.linear_cross_entropy_backward(
                          {{shape, logits, target, lse, dloss, nullptr},
                           x,
                           w,
                           (wanted & 1) != 0 ? s.output("dx", m * in, 1e-4) : nullptr,
                           (wanted & 2) != 0 ? s.output("dw", out * in, 1e-4) : nullptr,
                           (wanted & 4) != 0 ? s.output("db", out, 1e-4) : nullptr,
                           m,
                           in,
                           out},
                          s.context);
                    });
        }
      }
    }
  }
}

}  // namespace

void add_recurrent_cases(Cases& cases) {
  add_recurrent(cases);
  add_linear_cross_entropy(cases);
}

}  // namespace fused_rnn::test
