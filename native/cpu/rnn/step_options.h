// What RnnStepOptions (ops/ops.h) makes of the states of a step on the CPU, beside the cell: the
// loops call it for a few units of a row while they are in the cache.
#pragma once

#include "cpu/vector.h"
#include "ops/ops.h"

FUSED_RNN_KERNELS_BEGIN

// Which of the next kLanes bytes, of which there are `left`, are not 0.
inline LaneMask lanes_of_bytes(const uint8_t* bytes, int64_t left) {
  typedef uint8_t Bytes __attribute__((vector_size(kLanes)));
  Bytes read{};
  if (left >= kLanes) {
    std::memcpy(&read, bytes, kLanes);
  } else {
    std::memcpy(&read, bytes, static_cast<size_t>(left));
  }
  return __builtin_convertvector(read, LaneMask) != 0;
}

// now = keep ? old : now + part (old - now); all of it is kept where the row `stays`.
inline void blend(bool stays, const uint8_t* keep, float part, const float* old, float* now,
                  int64_t count) {
  if (stays) return copy_floats(now, old, count);
  if (keep != nullptr) {
    each_vector(count, [&](int64_t j, auto read, auto write) {
      const LaneMask kept = lanes_of_bytes(keep + j, count - j);
      write(now + j, kept ? read(old + j) : read(now + j));
    });
  } else if (part > 0) {
    each_vector(count, [&](int64_t j, auto read, auto write) {
      const Vec x = read(now + j);
      write(now + j, x + part * (read(old + j) - x));
    });
  }
}

// The gradient of `now` becomes that of what blend() was given; `kept` becomes that of `old`.
inline void split(bool stays, const uint8_t* keep, float part, float* gradient, float* kept,
                  int64_t count) {
  if (stays) {
    copy_floats(kept, gradient, count);
    copy_or_zero(gradient, nullptr, count);
  } else if (keep != nullptr) {
    each_vector(count, [&](int64_t j, auto read, auto write) {
      const LaneMask old = lanes_of_bytes(keep + j, count - j);
      const Vec g = read(gradient + j);
      write(kept + j, old ? g : Vec{});
      write(gradient + j, old ? Vec{} : g);
    });
  } else if (part == 0) {
    copy_or_zero(kept, nullptr, count);
  } else {
    each_vector(count, [&](int64_t j, auto read, auto write) {
      const Vec g = read(gradient + j);
      write(kept + j, part * g);
      write(gradient + j, (1 - part) * g);
    });
  }
}

inline void multiply_floats(float* to, const float* x, const float* factor, int64_t n) {
  for (int64_t i = 0; i < n; ++i) to[i] = x[i] * factor[i];
}
inline void add_products(float* to, const float* x, const float* factor, int64_t n) {
  for (int64_t i = 0; i < n; ++i) to[i] += x[i] * factor[i];
}

// Those of one layer and direction. Columns are those of a row's h, units those of its c.
struct StepOptions : RnnStepOptions {
  bool any = false;
  int64_t out = 0, hidden = 0;
  bool projected = false;

  StepOptions(const RnnStepOptions& all, const RnnShape& s, int64_t stack)
      : RnnStepOptions(all.of(s, stack)),
        any(all.any()),
        out(s.out()),
        hidden(s.hidden),
        projected(s.proj > 0) {}

  bool resets(int64_t row) const { return reset != nullptr && reset[row] != 0; }
  // Whether the states stay what they were.
  bool stays(int64_t row) const { return mask != nullptr && mask[row] == 0; }

  // Zoneout and masks of a row's new h, and of its new c.
  void blend_h(int64_t row, int64_t column, int64_t count, const float* old, float* now) const {
    blend(stays(row), keep_h != nullptr ? keep_h + row * out + column : nullptr, part_h, old, now,
          count);
  }
  void blend_c(int64_t row, int64_t unit, int64_t count, const float* old, float* now) const {
    blend(stays(row), keep_c != nullptr ? keep_c + row * hidden + unit : nullptr, part_c, old, now,
          count);
  }
  // Of their gradients, what goes to the cell (or the projection) stays in `gradient`, and what
  // goes to the old state is put into `kept`.
  void split_h(int64_t row, int64_t column, int64_t count, float* gradient, float* kept) const {
    split(stays(row), keep_h != nullptr ? keep_h + row * out + column : nullptr, part_h, gradient,
          kept, count);
  }
  void split_c(int64_t row, int64_t unit, int64_t count, float* gradient, float* kept) const {
    split(stays(row), keep_c != nullptr ? keep_c + row * hidden + unit : nullptr, part_c, gradient,
          kept, count);
  }

  // Around a row's cells from `unit` on: dh and dc, the gradients of h(t) and c(t), then of h(t-1)
  // past the gates and of c(t-1). Under a projection dh is no state's.
  template <class Cell>
  void before_cells(int64_t row, int64_t unit, int64_t count, float* dh, float* dc, float* kept_h,
                    float* kept_c) const {
    if (!projected) split_h(row, unit, count, dh, kept_h);
    for (int k = 0; Cell::kHasC && k < Cell::kStates; ++k) {
      split_c(row, unit, count, dc + k * hidden, kept_c + k * count);
    }
  }
  template <class Cell>
  void after_cells(int64_t row, int64_t count, float* dh, float* dc, const float* kept_h,
                   const float* kept_c) const {
    if (!projected && Cell::kDirectH) add_floats(dh, kept_h, count);
    if (!projected && !Cell::kDirectH) copy_floats(dh, kept_h, count);
    for (int k = 0; Cell::kHasC && k < Cell::kStates; ++k) {
      if (resets(row)) {
        copy_or_zero(dc + k * hidden, nullptr, count);
      } else {
        add_floats(dc + k * hidden, kept_c + k * count, count);
      }
    }
  }
};

FUSED_RNN_KERNELS_END
