// What a cell has, from its struct's traits, and the one table of its weights. The engine checks
// and allocates by it, the layers for native programs and TypeScript (binding.cells()) make
// parameters of it, and the native tests draw by it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "cells/cells.h"
#include "ops/ops.h"

#if defined(FUSED_RNN_ISA)
#error "kernels ask the cell itself"
#endif

namespace fused_rnn {

// ---- Traits

struct CellTraits {
  const char* name;  // as in cells.def
  int gates;         // G
  bool has_c;        // a cell state besides h; then h may be projected
  bool norms;        // layer norms, and so gains
  bool peepholes;    // units with weights for themselves
  bool plain_steps;  // kPlainSteps
  int states;        // in c: H numbers each; 0 without c
  bool one_bias;     // that both products share
  bool heads;        // weight_hh may be divided into heads
};

inline constexpr CellTraits kCellTraits[] = {
#define CELL(kind, Cell)            \
  {#kind,                           \
   Cell::kGates,                    \
   Cell::kHasC,                     \
   Cell::kNorms,                    \
   (Cell::kUnitWeights > 0),        \
   kPlainSteps<Cell>,               \
   Cell::kHasC ? Cell::kStates : 0, \
   Cell::kOneBias,                  \
   Cell::kHeads},
#include "cells/cells.def"
#undef CELL
};

constexpr bool is_cell(CellKind cell) {
  return static_cast<int>(cell) >= 0 && static_cast<int>(cell) < kCellCount;
}
constexpr const CellTraits& traits_of(CellKind cell) { return kCellTraits[static_cast<int>(cell)]; }

// ---- Weights of one layer and direction

// What shapes are made of.
enum class WeightSize {
  none,
  gates,   // G*H
  input,   // I, or D*P above the first layer
  out,     // P
  hidden,  // H
  proj,    // proj_size
};
constexpr const char* name_of(WeightSize size) {
  constexpr const char* kNames[] = {"", "gates", "input", "out", "hidden", "proj"};
  return kNames[static_cast<int>(size)];
}

// Which cells have a weight.
enum class WeightOf { all, two_biases, one_bias, norms, peepholes };

struct CellWeight {
  const char* name;          // PyTorch's, without the suffix: weight_ih of weight_ih_l0_reverse
  WeightSize rows, columns;  // no columns: a vector
  bool bias, projection;     // there only with these
  WeightOf cells;
  const float* RnnWeights::* value;
  float* RnnWeightGrads::* gradient;
};

// In the order of parameters, state dicts and flat lists of weights.
inline constexpr CellWeight kCellWeights[] = {
    {"weight_ih", WeightSize::gates, WeightSize::input, false, false, WeightOf::all,
     &RnnWeights::w_ih, &RnnWeightGrads::dw_ih},
    {"weight_hh", WeightSize::gates, WeightSize::out, false, false, WeightOf::all,
     &RnnWeights::w_hh, &RnnWeightGrads::dw_hh},
    {"bias_ih", WeightSize::gates, WeightSize::none, true, false, WeightOf::two_biases,
     &RnnWeights::b_ih, &RnnWeightGrads::db_ih},
    {"bias_hh", WeightSize::gates, WeightSize::none, true, false, WeightOf::two_biases,
     &RnnWeights::b_hh, &RnnWeightGrads::db_hh},
    {"bias", WeightSize::gates, WeightSize::none, true, false, WeightOf::one_bias,
     &RnnWeights::b_ih, &RnnWeightGrads::db_ih},
    {"weight_hr", WeightSize::proj, WeightSize::hidden, false, true, WeightOf::all,
     &RnnWeights::w_hr, &RnnWeightGrads::dw_hr},
    {"gain_ih", WeightSize::gates, WeightSize::none, false, false, WeightOf::norms,
     &RnnWeights::g_ih, &RnnWeightGrads::dg_ih},
    {"gain_hh", WeightSize::gates, WeightSize::none, false, false, WeightOf::norms,
     &RnnWeights::g_hh, &RnnWeightGrads::dg_hh},
    {"gain_c", WeightSize::hidden, WeightSize::none, false, false, WeightOf::norms,
     &RnnWeights::g_c, &RnnWeightGrads::dg_c},
    {"bias_c", WeightSize::hidden, WeightSize::none, true, false, WeightOf::norms, &RnnWeights::b_c,
     &RnnWeightGrads::db_c},
    {"weight_ci", WeightSize::hidden, WeightSize::none, false, false, WeightOf::peepholes,
     &RnnWeights::w_ci, &RnnWeightGrads::dw_ci},
    {"weight_cf", WeightSize::hidden, WeightSize::none, false, false, WeightOf::peepholes,
     &RnnWeights::w_cf, &RnnWeightGrads::dw_cf},
    {"weight_co", WeightSize::hidden, WeightSize::none, false, false, WeightOf::peepholes,
     &RnnWeights::w_co, &RnnWeightGrads::dw_co},
};

// The table's lines for one cell.
struct WeightList {
  std::array<CellWeight, std::size(kCellWeights)> lines;
  size_t count;
};

constexpr bool has_line(const CellTraits& cell, WeightOf cells) {
  switch (cells) {
    case WeightOf::all:
      return true;
    case WeightOf::two_biases:
      return !cell.one_bias;
    case WeightOf::one_bias:
      return cell.one_bias;
    case WeightOf::norms:
      return cell.norms;
    case WeightOf::peepholes:
      return cell.peepholes;
  }
  return false;
}

constexpr WeightList weight_list(const CellTraits& cell) {
  WeightList list{};
  for (const CellWeight& weight : kCellWeights) {
    if (has_line(cell, weight.cells)) list.lines[list.count++] = weight;
  }
  return list;
}

inline constexpr std::array<WeightList, kCellCount> kWeightLists = [] {
  std::array<WeightList, kCellCount> lists{};
  for (size_t i = 0; i < lists.size(); ++i) lists[i] = weight_list(kCellTraits[i]);
  return lists;
}();

// Those that the cell may have; each is there or not as has_weight() says.
constexpr std::span<const CellWeight> weights_of(CellKind cell) {
  const WeightList& list = kWeightLists[static_cast<size_t>(cell)];
  return {list.lines.data(), list.count};
}

constexpr bool has_weight(const RnnShape& s, const CellWeight& weight) {
  return (s.bias || !weight.bias) && (s.proj > 0 || !weight.projection);
}

constexpr int64_t weight_size(const RnnShape& s, int64_t layer, WeightSize size) {
  switch (size) {
    case WeightSize::gates:
      return traits_of(s.cell).gates * s.hidden;
    case WeightSize::input:
      return s.layer_input(layer);
    case WeightSize::out:
      return s.out();
    case WeightSize::hidden:
      return s.hidden;
    case WeightSize::proj:
      return s.proj;
    case WeightSize::none:
      break;
  }
  return 1;
}

constexpr int64_t weight_floats(const RnnShape& s, int64_t layer, const CellWeight& weight) {
  return weight_size(s, layer, weight.rows) * weight_size(s, layer, weight.columns);
}

}  // namespace fused_rnn
