#include "engine/kept_weights.h"

#include "core/context.h"
#include "cpu/bf16/kernels.h"

namespace fused_rnn {

const uint32_t* kept_weights(const Buffer& w, int64_t rows, int64_t k, uint64_t changes) {
  Storage& storage = *w.storage;
  if (storage.device() != nullptr || storage.foreign() || storage.exported ||
      rows * k < kKeptValues) {
    return nullptr;
  }
  if (storage.derived_at != changes) {
    storage.derived.clear();
    storage.derived_at = changes;
  }
  const auto words = [](const std::shared_ptr<const void>& values) {
    return reinterpret_cast<const uint32_t*>(static_cast<const Scratch*>(values.get())->data());
  };
  // A layer's weights are windows of one memory.
  for (const Storage::Derived& there : storage.derived) {
    if (there.offset == w.offset && there.rows == rows && there.columns == k) {
      return words(there.values);
    }
  }
  const auto kept = std::make_shared<Scratch>(rows * kept_words(k));
  bf16_kernels().keep_rows(rows, k, w.f32(), reinterpret_cast<uint32_t*>(kept->data()));
  storage.derived.push_back({w.offset, rows, k, kept});
  return words(kept);
}

}  // namespace fused_rnn
