// The steps of cells with layer norms (Cell::kNorms): what they do between a step's product and the
// next one's. The threads of a group have a share of the units each, and add up their parts of
// every row's sums at a barrier; a thread alone goes through all of it row by row, in the nearest
// cache.
#pragma once

#include <cmath>

#include "cells/cells.h"
#include "cpu/rnn/threads.h"
#include "cpu/rnn/workspace.h"
#include "cpu/vector.h"

FUSED_RNN_KERNELS_BEGIN

// ---- Sums over rows -----------------------------------------------------------------------------

// Adds f(x) up.
template <class F>
float sum_floats(const float* x, int64_t n, F f) {
  constexpr int kSums = 4;
  Vec sums[kSums] = {};
  int64_t i = 0;
  for (; i + kSums * kLanes <= n; i += kSums * kLanes) {
    for (int k = 0; k < kSums; ++k) sums[k] += f(load(x + i + k * kLanes));
  }
  for (; i + kLanes <= n; i += kLanes) sums[0] += f(load(x + i));
  float sum = sum_lanes((sums[0] + sums[1]) + (sums[2] + sums[3]));
  for (; i < n; ++i) sum += f(x[i]);
  return sum;
}

// Numbers from which moments come: those of several parts can be put together.
struct Spread {
  int64_t count;
  float mean;
  float squares;  // sum of the squared distances from the mean
};

// Of the columns [0, count) of `blocks` blocks, `ld` apart.
inline Spread spread_of(const float* x, int64_t ld, int blocks, int64_t count) {
  if (count == 0) return {0, 0, 0};
  if (count == ld) return spread_of(x, 0, 1, blocks * count);
  float sum = 0, squares = 0;
  for (int b = 0; b < blocks; ++b) sum += sum_floats(x + b * ld, count, [](auto v) { return v; });
  const float mean = sum / static_cast<float>(blocks * count);
  for (int b = 0; b < blocks; ++b) {
    squares += sum_floats(x + b * ld, count, [=](auto v) { return (v - mean) * (v - mean); });
  }
  return {blocks * count, mean, squares};
}

inline Moments moments_of(const Spread& s) {
  const float variance = s.squares / static_cast<float>(s.count);
  return {s.mean, 1 / std::sqrt(variance + kNormEpsilon)};
}

// The input's, of all rows, before the time loop. Where x is one-hot, its product is looked up.
template <class Lookup>
void input_moments(float* product, int64_t ld, int64_t columns, int64_t rows,
                   const RnnStackSaved& saved, Lookup lookup, Context& context) {
  context.pool.parallel_for(rows, (1 << 13) / columns + 1, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      lookup(row, product + row * ld);
      saved.moments[row].input = moments_of(spread_of(product + row * ld, 0, 1, columns));
    }
  });
}

// ---- Sums of a group of threads -----------------------------------------------------------------

struct Units {
  int64_t begin, count;
};

// The threads of a slice, and their parts of the sums over its rows.
struct RowSums {
  static constexpr int64_t kSums = 6;  // of one row

  ThreadGroup group;
  int64_t hidden;
  int64_t width;   // of a panel of units
  int64_t panels;  // of all units
  int64_t batch;
  float* parts;  // [threads, N, kSums]

  Units units(int t) const {
    const PanelRange share = group.share(panels, t);
    const int64_t begin = std::min(share.begin * width, hidden);
    return {begin, std::min(share.end * width, hidden) - begin};
  }
  // Rows that go from barrier to barrier together.
  int64_t at_once(int64_t rows) const {
    return group.threads == 1 ? 1 : std::max<int64_t>(rows, 1);
  }

  float* own(int64_t n) const { return parts + (group.thread * batch + n) * kSums; }
  // The sum over the row of sequence n, of one of the kSums.
  float total(int64_t n, int64_t which) const {
    float sum = 0;
    for (int t = 0; t < group.threads; ++t) sum += parts[(t * batch + n) * kSums + which];
    return sum;
  }

  // Of `blocks` blocks of the row, whose spreads the threads have put down at `which`.
  void put(int64_t n, int64_t which, const Spread& spread) const {
    own(n)[which] = spread.mean;
    own(n)[which + 1] = spread.squares;
  }
  Moments moments(int64_t n, int64_t which, int blocks) const {
    Spread all{blocks * hidden, 0, 0};
    for (int t = 0; t < group.threads; ++t) {
      all.mean += parts[(t * batch + n) * kSums + which] * static_cast<float>(units(t).count);
    }
    all.mean /= static_cast<float>(hidden);
    for (int t = 0; t < group.threads; ++t) {
      const float* part = parts + (t * batch + n) * kSums + which;
      const float off = part[0] - all.mean;
      all.squares += part[1] + static_cast<float>(blocks * units(t).count) * off * off;
    }
    return moments_of(all);
  }
};

// ---- Gains and shifts ---------------------------------------------------------------------------

class NormWeights {
 public:
  NormWeights(const RnnShape& s, const RnnWeights& w, int64_t gates)
      : g_ih(w.g_ih), g_hh(w.g_hh), g_c(w.g_c), shifts_((gates + 1) * s.hidden) {
    const int64_t n = gates * s.hidden;
    copy_or_zero(shifts_.data(), w.b_ih, n);
    for (int64_t i = 0; s.bias && i < n; ++i) shifts_.data()[i] += w.b_hh[i];
    copy_or_zero(shifts_.data() + n, w.b_c, s.hidden);
    shift = shifts_.data();
    shift_c = shifts_.data() + n;
  }

  const float *g_ih, *g_hh;  // [G*H]
  const float* g_c;          // [H]
  const float* shift;        // [G*H]: of both products
  const float* shift_c;      // [H]

 private:
  Scratch shifts_;
};

// Pre-activations of the units from j on, from both products.
template <class Cell, class Read>
void normalised(const NormWeights& w, const RowMoments& m, int64_t hidden, const float* products,
                int64_t j, Read read, Vec (&s)[Cell::kGates]) {
  for (int g = 0; g < Cell::kGates; ++g) {
    const int64_t at = g * hidden + j;
    s[g] = m.hidden.normalise(read(products + at)) * read(w.g_hh + at) +
           m.input.normalise(read(products + Cell::kInputBlock * hidden + at)) * read(w.g_ih + at) +
           read(w.shift + at);
  }
}

// Where a step has one row.
struct CellRow {
  float* gates;                   // [B*H]
  RowMoments* moments;            // cells with norms
  const float* h_prev;            // [P]
  const float* c_prev = nullptr;  // [H], cells with c
  float* c = nullptr;             // [H]
  float* h = nullptr;             // [H]
  float* h_next = nullptr;        // [H]: where h goes besides, without projection
};

// ---- Forward ------------------------------------------------------------------------------------

// All rows [0, count) of a step after its product; row(r) is the row of sequence first + r.
template <class Cell, class Row>
void norm_forward(const RowSums& sums, const NormWeights& w, int64_t first, int64_t count, Row row,
                  const Context& context) {
  const Units own = sums.units(sums.group.thread);
  const int64_t hidden = sums.hidden, at_once = sums.at_once(count);
  for (int64_t begin = 0; begin < count; begin += at_once) {
    const int64_t end = std::min(begin + at_once, count);
    for (int64_t r = begin; r < end; ++r) {
      sums.put(first + r, 0, spread_of(row(r).gates + own.begin, hidden, Cell::kGates, own.count));
    }
    sums.group.wait(context);
    for (int64_t r = begin; r < end; ++r) {
      const CellRow at = row(r);
      RowMoments m = *at.moments;
      m.hidden = sums.moments(first + r, 0, Cell::kGates);
      if (sums.group.thread == 0) at.moments->hidden = m.hidden;
      each_vector(own.count, [&](int64_t i, auto read, auto write) {
        const int64_t j = own.begin + i;
        Vec s[Cell::kGates], c;
        normalised<Cell>(w, m, hidden, at.gates, j, read, s);
        Cell::gates(s, read(at.c_prev + j), c);
        write(at.c + j, c);
        write(at.h + j, s[Cell::kGates - 1]);  // o, for what follows
      });
      sums.put(first + r, 2, spread_of(at.c + own.begin, 0, 1, own.count));
    }
    sums.group.wait(context);
    for (int64_t r = begin; r < end; ++r) {
      const CellRow at = row(r);
      const Moments m = sums.moments(first + r, 2, 1);
      if (sums.group.thread == 0) at.moments->c = m;
      each_vector(own.count, [&](int64_t i, auto read, auto write) {
        const int64_t j = own.begin + i;
        const Vec norm = m.normalise(read(at.c + j)) * read(w.g_c + j) + read(w.shift_c + j);
        write(at.h + j, Cell::output(read(at.h + j), norm));
      });
      if (at.h_next) copy_floats(at.h_next + own.begin, at.h + own.begin, own.count);
    }
  }
}

// ---- Backward -----------------------------------------------------------------------------------

// Gradients of gains and shifts, added up over the rows of one slice.
struct NormGrads {
  static int64_t floats(int64_t gates, int64_t hidden) { return (3 * gates + 2) * hidden; }
  NormGrads(float* memory, int64_t gates, int64_t hidden)
      : shift(memory),
        g_hh(shift + gates * hidden),
        g_ih(g_hh + gates * hidden),
        shift_c(g_ih + gates * hidden),
        g_c(shift_c + hidden) {}
  float *shift, *g_hh, *g_ih;  // [G*H]
  float *shift_c, *g_c;        // [H]
};

struct NormRowBackward {
  float* products;  // [B*H], become their gradients
  RowMoments moments;
  const float* c_prev;  // [H]
  float* dh;            // [H], used up
  float* dc;            // [H]: of c(t), becomes c(t-1)'s
};

// `scratch`: [rows that go together, G*H], for the slice.
template <class Cell, class Row>
void norm_backward(const RowSums& sums, const NormWeights& w, const NormGrads& grads,
                   float* scratch, int64_t first, int64_t count, Row row, const Context& context) {
  constexpr int G = Cell::kGates;
  const Units own = sums.units(sums.group.thread);
  const int64_t hidden = sums.hidden, at_once = sums.at_once(count);
  const float per_unit = 1 / static_cast<float>(hidden);
  const auto add = [](auto read, auto write, float* to, Vec v) { write(to, read(to) + v); };
  for (int64_t begin = 0; begin < count; begin += at_once) {
    const int64_t end = std::min(begin + at_once, count);
    // From h to the normalised c.
    for (int64_t r = begin; r < end; ++r) {
      const NormRowBackward at = row(r);
      float* kept = scratch + (r - begin) * G * hidden;
      Vec sum{}, product_sum{};
      each_vector(own.count, [&](int64_t i, auto read, auto write) {
        const int64_t j = own.begin + i;
        Vec s[G], c, dnorm;
        normalised<Cell>(w, at.moments, hidden, at.products, j, read, s);
        Cell::gates(s, read(at.c_prev + j), c);
        const Vec unit = at.moments.c.normalise(c), gain = read(w.g_c + j);
        Cell::output_backward(s, unit * gain + read(w.shift_c + j), read(at.dh + j), dnorm);
        add(read, write, grads.shift_c + j, dnorm);
        add(read, write, grads.g_c + j, dnorm * unit);
        dnorm *= gain;
        sum += dnorm;
        product_sum += dnorm * unit;
        write(at.dh + j, dnorm);
        for (int g = 0; g < G; ++g) write(kept + g * hidden + j, s[g]);
      });
      sums.own(first + r)[0] = sum_lanes(sum);
      sums.own(first + r)[1] = sum_lanes(product_sum);
    }
    sums.group.wait(context);
    // From c to the pre-activations.
    for (int64_t r = begin; r < end; ++r) {
      const NormRowBackward at = row(r);
      const RowMoments& m = at.moments;
      float* kept = scratch + (r - begin) * G * hidden;
      const float mean = sums.total(first + r, 0) * per_unit;
      const float product_mean = sums.total(first + r, 1) * per_unit;
      Vec totals[4] = {};
      each_vector(own.count, [&](int64_t i, auto read, auto write) {
        const int64_t j = own.begin + i;
        const Vec c_prev = read(at.c_prev + j);
        Vec s[G], dc_prev;
        for (int g = 0; g < G; ++g) s[g] = read(kept + g * hidden + j);
        const Vec unit = m.c.normalise(Cell::state(s, c_prev));
        const Vec dc = read(at.dc + j) + m.c.backward(read(at.dh + j), unit, mean, product_mean);
        Cell::gates_backward(s, c_prev, dc, dc_prev);
        write(at.dc + j, dc_prev);
        for (int g = 0; g < G; ++g) {
          const int64_t k = g * hidden + j;
          const Vec h = m.hidden.normalise(read(at.products + k));
          const Vec x = m.input.normalise(read(at.products + Cell::kInputBlock * hidden + k));
          add(read, write, grads.shift + k, s[g]);
          add(read, write, grads.g_hh + k, s[g] * h);
          add(read, write, grads.g_ih + k, s[g] * x);
          write(kept + k, s[g]);
          const Vec dh = s[g] * read(w.g_hh + k), dx = s[g] * read(w.g_ih + k);
          totals[0] += dh;
          totals[1] += dh * h;
          totals[2] += dx;
          totals[3] += dx * x;
        }
      });
      for (int i = 0; i < 4; ++i) sums.own(first + r)[2 + i] = sum_lanes(totals[i]);
    }
    sums.group.wait(context);
    // From the normalised products to the products.
    for (int64_t r = begin; r < end; ++r) {
      const NormRowBackward at = row(r);
      const RowMoments& m = at.moments;
      const float* kept = scratch + (r - begin) * G * hidden;
      float means[4];
      for (int i = 0; i < 4; ++i) means[i] = sums.total(first + r, 2 + i) * per_unit / G;
      each_vector(own.count, [&](int64_t i, auto read, auto write) {
        for (int g = 0; g < G; ++g) {
          const int64_t k = g * hidden + own.begin + i;
          float *h = at.products + k, *x = h + Cell::kInputBlock * hidden;
          const Vec da = read(kept + k);
          write(h, m.hidden.backward(da * read(w.g_hh + k), m.hidden.normalise(read(h)), means[0],
                                     means[1]));
          write(x, m.input.backward(da * read(w.g_ih + k), m.input.normalise(read(x)), means[2],
                                    means[3]));
        }
      });
    }
  }
}

FUSED_RNN_KERNELS_END
