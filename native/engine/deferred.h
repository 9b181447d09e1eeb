// What operations leave unwritten for those that use it as what it is made of (core/storage.h).
#pragma once

#include "core/storage.h"
#include "ops/backend.h"

namespace fused_rnn {

class DeferredOneHot : public Deferred {
 public:
  // `index` has been checked, and nobody else writes to it.
  DeferredOneHot(const Backend& backend, Context context, Buffer index, int64_t classes)
      : backend_(backend), context_(context), index_(std::move(index)), classes_(classes) {}

  void fill(void* data) const override {
    backend_.one_hot({static_cast<float*>(data), index_.i32(), index_.length, classes_}, context_);
  }
  const int32_t* index() const { return index_.i32(); }
  int64_t classes() const { return classes_; }

 private:
  const Backend& backend_;
  mutable Context context_;
  Buffer index_;
  int64_t classes_;
};

// The gradient of a cross entropy with respect to its logits.
class DeferredLogitsGradient : public Deferred {
 public:
  DeferredLogitsGradient(const Backend& backend, Context context, const CrossEntropyShape& shape,
                         Buffer logits, Buffer target, Buffer weight, Buffer lse, Buffer dloss)
      : backend_(backend),
        context_(context),
        shape_(shape),
        logits_(std::move(logits)),
        target_(std::move(target)),
        weight_(std::move(weight)),
        lse_(std::move(lse)),
        dloss_(std::move(dloss)) {}

  void fill(void* data) const override {
    CrossEntropyBackwardArgs all = args();
    all.dlogits = static_cast<float*>(data);
    backend_.cross_entropy_backward(all, context_);
  }
  // Whether it is [rows, classes]: a reshape may have been in between.
  bool has_shape(int64_t rows, int64_t classes) const {
    return shape_.n == rows && shape_.classes == classes;
  }
  CrossEntropyBackwardArgs args() const {
    return {shape_, logits_.f32(), target_.i32(), lse_.f32(), dloss_.f32(), nullptr, weight_.f32()};
  }

 private:
  const Backend& backend_;
  mutable Context context_;
  CrossEntropyShape shape_;
  Buffer logits_, target_, weight_, lse_, dloss_;
};

}  // namespace fused_rnn
