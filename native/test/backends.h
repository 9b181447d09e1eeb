// Runs operations of two backends on the same numbers and compares what they write: the CPU's and
// CUDA's. A case is a function that takes a Side, asks it for arguments, and calls an operation;
// it is run once for each backend.
//
// To add one: a call of add() in the file of its area (cases_*.cpp), or a new file with a function
// of its own that backends.cpp calls.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "core/context.h"
#include "core/device.h"
#include "ops/backend.h"

namespace fused_rnn::test {

// What a case has had written: floats, or integers or booleans, which have to be equal.
struct Written {
  std::string name;
  bool integer;
  double tolerance;  // |a - b| <= tolerance * (1 + |a|)
  std::vector<float> floats;
  std::vector<int32_t> integers;
};

// One backend with the arguments of one case. Pointers are of its memory and live as long as it.
class Side {
 public:
  // `shift`: elements by which arrays lie beyond an aligned address.
  Side(const Backend& backend, Context& context, int shift)
      : backend(backend), context(context), shift_(shift) {}
  ~Side();
  Side(const Side&) = delete;
  Side& operator=(const Side&) = delete;

  const Backend& backend;
  Context& context;

  // Numbers: drawn for the case, the same for both sides, in [low, high).
  float* floats(int64_t n, float low = -1, float high = 1);
  int32_t* integers(int64_t n, int32_t low, int32_t high);
  float* values(const std::vector<float>& values);
  int32_t* values(const std::vector<int32_t>& values);
  uint8_t* booleans(int64_t n);

  // To be written and then compared; NaN, or a large integer, before. The arrays that an operation
  // changes in place are those of expect().
  float* output(const char* name, int64_t n, double tolerance = kTolerance);
  int32_t* integer_output(const char* name, int64_t n);
  uint8_t* boolean_output(const char* name, int64_t n);
  float* expect(const char* name, float* array, int64_t n, double tolerance = kTolerance);

  static constexpr double kTolerance = 2e-5;

  // After the operation: the arrays to compare.
  std::vector<Written> written();

 private:
  struct Array {
    char* block;
    size_t bytes;
  };
  struct Expected {
    std::string name;
    DType dtype;
    double tolerance;
    void* data;
    int64_t n;
  };

  void* allocate(const void* contents, int64_t n, DType dtype = DType::float32);
  void copy_out(void* to, const void* from, size_t bytes);
  uint64_t draw();

  int shift_;
  uint64_t state_ = 0x9E3779B97F4A7C15;
  std::vector<Array> arrays_;
  std::vector<Expected> expected_;
};

struct Case {
  std::string name;
  std::function<void(Side&)> run;
  std::string error;  // the message that both have to fail with; empty: none
};

class Cases {
 public:
  // The name says the operation and what is special, as in "sum [3, 5, 7]".
  void add(std::string name, std::function<void(Side&)> run, std::string error = {}) {
    cases_.push_back({std::move(name), std::move(run), std::move(error)});
  }
  const std::vector<Case>& all() const { return cases_; }

 private:
  std::vector<Case> cases_;
};

void add_tensor_cases(Cases& cases);       // cases_tensor.cpp
void add_indexing_cases(Cases& cases);     // cases_indexing.cpp
void add_product_cases(Cases& cases);      // cases_product.cpp
void add_training_cases(Cases& cases);     // cases_training.cpp
void add_sequence_cases(Cases& cases);     // cases_sequence.cpp
void add_recurrent_cases(Cases& cases);    // cases_recurrent.cpp
void add_elementwise_cases(Cases& cases);  // cases_elementwise.cpp
void add_whole_loop_cases(Cases& cases);   // cases_whole_loop.cpp

}  // namespace fused_rnn::test
