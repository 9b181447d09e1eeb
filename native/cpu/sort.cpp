// Rows in order, or the first few of them. Elements are compared by 32-bit keys, each in one word
// with its position, so that every order is stable.
#include "cpu/sort.h"

#include <cstring>

#include "cpu/isa.h"

FUSED_RNN_KERNELS_BEGIN

namespace {

constexpr int64_t kGrain = 1 << 12;
constexpr int64_t kInsertion = 40;  // elements, up to which this is the fastest

void insertion_sort(uint64_t* x, int64_t n) {
  for (int64_t i = 1; i < n; ++i) {
    const uint64_t one = x[i];
    int64_t j = i;
    for (; j > 0 && x[j - 1] > one; --j) x[j] = x[j - 1];
    x[j] = one;
  }
}

// By the keys' digits of `bits` bits, the lowest first; a digit that is the same in all is passed
// over. Returns which of the two arrays has the result.
template <int bits>
uint64_t* radix_sort(uint64_t* x, uint64_t* other, int64_t n) {
  constexpr int kDigits = (32 + bits - 1) / bits;
  constexpr uint32_t kMask = (1u << bits) - 1;
  uint32_t counts[kDigits][1 << bits] = {};
  for (int64_t i = 0; i < n; ++i) {
    const auto key = static_cast<uint32_t>(x[i] >> 32);
    for (int d = 0; d < kDigits; ++d) counts[d][(key >> (d * bits)) & kMask] += 1;
  }
  const auto first = static_cast<uint32_t>(x[0] >> 32);
  for (int d = 0; d < kDigits; ++d) {
    const int shift = 32 + d * bits;
    uint32_t* count = counts[d];
    if (count[(first >> (d * bits)) & kMask] == static_cast<uint32_t>(n)) continue;
    uint32_t at = 0;
    for (uint32_t digit = 0; digit <= kMask; ++digit) {
      const uint32_t here = count[digit];
      count[digit] = at;
      at += here;
    }
    for (int64_t i = 0; i < n; ++i) other[count[(x[i] >> shift) & kMask]++] = x[i];
    uint64_t* sorted = other;
    other = x;
    x = sorted;
  }
  return x;
}

}  // namespace

uint64_t* sort_words(uint64_t* x, uint64_t* other, int64_t n) {
  if (n <= kInsertion) {
    insertion_sort(x, n);
    return x;
  }
  return n < 6000 ? radix_sort<8>(x, other, n) : radix_sort<11>(x, other, n);
}

namespace {

// Of few: the k best so far are kept in order.
void first_few(uint64_t* best, int64_t k, int64_t n, const uint32_t* keys) {
  constexpr int64_t kBlock = 16;
  int64_t count = 0;
  uint32_t limit = UINT32_MAX;  // keys from here on do not come among them, once there are k
  for (int64_t i = 0; i < n;) {
    const int64_t end = n - i < kBlock ? n : i + kBlock;
    if (count == k && end - i == kBlock) {
      uint32_t any = 0;
      for (int64_t j = 0; j < kBlock; ++j) any |= keys[i + j] < limit ? 1u : 0u;
      if (any == 0) {
        i = end;
        continue;
      }
    }
    for (; i < end; ++i) {
      if (count == k && keys[i] >= limit) continue;
      const uint64_t word = uint64_t{keys[i]} << 32 | static_cast<uint64_t>(i);
      int64_t j = count < k ? count++ : k - 1;
      for (; j > 0 && best[j - 1] > word; --j) best[j] = best[j - 1];
      best[j] = word;
      if (count == k) limit = static_cast<uint32_t>(best[k - 1] >> 32);
    }
  }
}

}  // namespace

uint64_t* first_words(uint64_t* some, uint64_t* other, int64_t k, int64_t room, int64_t n,
                      const uint32_t* keys) {
  if (k <= kInsertion / 2) {
    first_few(some, k, n, keys);
    return some;
  }
  // Candidates gather behind the k best so far; where there is no room left, the best are found.
  int64_t count = 0;
  uint64_t bound = UINT64_MAX;
  for (int64_t i = 0; i < n;) {
    constexpr int64_t kBlock = 64;
    const int64_t end = n - i < kBlock ? n : i + kBlock;
    const auto limit = static_cast<uint32_t>(bound >> 32);
    if (end - i == kBlock) {
      uint32_t any = 0;
      for (int64_t j = 0; j < kBlock; ++j) any |= keys[i + j] < limit ? 1u : 0u;
      if (any == 0 && bound != UINT64_MAX) {
        i = end;
        continue;
      }
    }
    for (; i < end; ++i) {
      const uint64_t word = uint64_t{keys[i]} << 32 | static_cast<uint64_t>(i);
      some[count] = word;
      count += word < bound ? 1 : 0;
    }
    if (count + kBlock > room) {
      uint64_t* sorted = sort_words(some, other, count);
      if (sorted != some) {
        other = some;
        some = sorted;
      }
      count = k;
      bound = some[k - 1];
    }
  }
  return sort_words(some, other, count);
}

namespace {

struct Order {
  bool integer;
  uint32_t flip;  // all bits for the largest first
};

uint32_t key_of(uint32_t bits, Order order) {
  if (order.integer) return (bits ^ 0x80000000u) ^ order.flip;
  const uint32_t magnitude = bits & 0x7fffffffu;
  uint32_t key = bits & 0x80000000u ? ~bits : bits | 0x80000000u;
  key = magnitude == 0 ? 0x80000000u : key;           // -0 equals 0
  key = magnitude > 0x7f800000u ? 0xffffffffu : key;  // NaN
  return key ^ order.flip;
}

}  // namespace

void sort(const SortArgs& args, Context& context) {
  const int64_t n = args.n, k = args.k;
  if (k == 0) return;
  const Order order{args.integer, args.descending ? 0xffffffffu : 0};
  const bool few = k < n && k <= n / 4;
  // Of few: enough for k and what comes until they are sorted.
  const int64_t room = few ? (4 * k + 512 < n + 64 ? 4 * k + 512 : n + 64) : n;
  context.pool.parallel_for(args.rows, kGrain / (n + 1) + 1, [&](int64_t begin, int64_t end) {
    Scratch words(4 * room), keys(few ? n : 0);
    auto* x = reinterpret_cast<uint64_t*>(words.data());
    auto* key = reinterpret_cast<uint32_t*>(keys.data());
    for (int64_t row = begin; row < end; ++row) {
      const uint32_t* in = args.in + row * n;
      const uint64_t* sorted;
      if (few) {
        for (int64_t i = 0; i < n; ++i) key[i] = key_of(in[i], order);
        sorted = first_words(x, x + room, k, room, n, key);
      } else {
        for (int64_t i = 0; i < n; ++i) {
          x[i] = uint64_t{key_of(in[i], order)} << 32 | static_cast<uint64_t>(i);
        }
        sorted = sort_words(x, x + room, n);
      }
      int32_t* indices = args.indices + row * k;
      for (int64_t i = 0; i < k; ++i) indices[i] = static_cast<int32_t>(sorted[i]);
      if (args.values == nullptr) continue;
      uint32_t* values = args.values + row * k;
      for (int64_t i = 0; i < k; ++i) values[i] = in[indices[i]];
    }
  });
}

FUSED_RNN_KERNELS_END
