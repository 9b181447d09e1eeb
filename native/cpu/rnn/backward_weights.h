// What the backward pass makes of a layer's weights before the time loop begins: W_hh and W_hr,
// packed. G, P, H as in backward.cpp.
#pragma once

#include <optional>

#include "cells/cells.h"
#include "cpu/bf16/products.h"
#include "cpu/rnn/layer_norm.h"
#include "cpu/rnn/threads.h"
#include "cpu/tile.h"
#include "cpu/vector.h"

FUSED_RNN_KERNELS_BEGIN

// The weights of one direction of a layer as the loop wants them; made once per call.
template <class Cell>
class BackwardWeights {
 public:
  BackwardWeights(const RnnShape& s, const RnnWeights& w, const RnnGrid& grid,
                  const Products& products, Context& context)
      : packed_(products.floats(kHiddenGates<Cell> * s.hidden, s.out())),
        packed_reset_(Cell::kResetBefore ? products.floats(s.hidden, s.hidden) : 1),
        packed_hr_(s.proj > 0 ? products.floats(s.proj, s.hidden) : 1) {
    const int64_t p = s.out();
    hidden = products.panels(kHiddenGates<Cell> * s.hidden, p, grid.vectors);
    hidden.data = packed_.data();
    if (products.bf16()) {
      pack_rounded(s, w, products, context);
    } else {
      for (const HiddenRun& run : Cell::kHiddenRuns) {
        pack_panel_rows(hidden, run.block * s.hidden, run.count * s.hidden,
                        w.w_hh + run.gate * s.hidden * p, p, packed_.data(), context);
      }
    }
    if constexpr (Cell::kNorms) norms.emplace(s, w, Cell::kGates);
    if constexpr (Cell::kResetBefore) {
      constexpr HiddenRun kRun = Cell::kResetRuns[0];
      static_assert(kRun.count == 1 && std::size(Cell::kResetRuns) == 1);
      reset = products.panels(s.hidden, s.hidden, grid.vectors);
      reset.data = packed_reset_.data();
      products.pack(reset, Trans::no, s.hidden, w.w_hh + kRun.gate * s.hidden * s.hidden, s.hidden,
                    packed_reset_.data(), context);
    }
    if (s.proj == 0) return;
    projection = products.panels(s.proj, s.hidden, grid.vectors);
    projection.data = packed_hr_.data();
    products.pack(projection, Trans::no, s.proj, w.w_hr, s.hidden, packed_hr_.data(), context);
  }

  Panels hidden;
  Panels projection;
  Panels reset;  // cells with a second product: its gates of W_hh
  std::optional<NormWeights> norms;

 private:
  // A pair of rows may have one of each of two blocks, so the rows are put in order first.
  void pack_rounded(const RnnShape& s, const RnnWeights& w, const Products& products,
                    Context& context) {
    const int64_t p = s.out(), k = kHiddenGates<Cell> * s.hidden;
    const bool in_order = std::size(Cell::kHiddenRuns) == 1 && Cell::kHiddenRuns[0].gate == 0;
    Scratch ordered(in_order ? 1 : k * p);
    for (const HiddenRun& run : Cell::kHiddenRuns) {
      if (in_order) break;
      copy_floats(ordered.data() + run.block * s.hidden * p, w.w_hh + run.gate * s.hidden * p,
                  run.count * s.hidden * p);
    }
    products.pack(hidden, Trans::no, k, in_order ? w.w_hh : ordered.data(), p, packed_.data(),
                  context);
  }

  Scratch packed_, packed_reset_, packed_hr_;
};

FUSED_RNN_KERNELS_END
