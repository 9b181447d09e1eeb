// Arguments of operations on whole tensors: elementwise, reductions, shapes, products. The
// conventions of ops.h hold; `integer` says that values are int32_t instead of float; `bytes`, that
// elements are of one byte (booleans) instead of four.
#pragma once

#include <cstdint>

#include "fused_rnn/dtype.h"

namespace fused_rnn {

constexpr int kMaxDims = 8;

// ---- Elementwise ------------------------------------------------------------------------------

struct FillArgs {
  float* out;  // [n]
  int64_t n;
  float value;
};

// Elements of any type; out may be in itself, but not overlap it otherwise.
struct CopyArgs {
  void* out;
  const void* in;
  int64_t bytes;
  // out has values that must last when `in` could not be computed: on a device, nothing is copied
  // once there is a fault.
  bool keep_on_fault = false;
};

// dst += src
struct AddIntoArgs {
  float* dst;        // [n]
  const float* src;  // [n]
  int64_t n;
};

// float32 to int32: towards zero; beyond its range the nearest, NaN gives 0. To boolean: whether it
// is not 0, as NaN is.
struct CastArgs {
  void* out;       // [n], of type `to`
  const void* in;  // [n], of type `from`, which is another
  int64_t n;
  DType from, to;
};

// out = a (op) b, with broadcasting expressed as strides of 0. Integers wrap around; there are add,
// sub, mul, maximum, minimum, fmod and remainder of them (0 where b is 0), of booleans maximum ("or")
// and minimum ("and"). From kFirstRelation on the result is boolean, and operands have any type.
enum class BinaryOp : int32_t {
#define BINARY(name, value) name,
#define RELATION(name, value) name,
#include "ops/functions.def"
};
constexpr BinaryOp kFirstRelation = BinaryOp::eq;
struct BinaryArgs {
  BinaryOp op;
  DType type;       // of a and b
  void* out;        // shape, contiguous
  const void* a;    // shape through a_strides (elements)
  const void* b;    // shape through b_strides; or null, for one value with these bits
  uint32_t number;  // (a is contiguous then)
  int32_t dims;
  int64_t shape[kMaxDims];
  int64_t a_strides[kMaxDims];
  int64_t b_strides[kMaxDims];
};

// out = condition ? a : b, with broadcasting. Elements of any type.
struct WhereArgs {
  void* out;                 // shape, contiguous
  const uint8_t* condition;  // shape through c_strides
  const void* a;             // shape through a_strides; or null, for one value with these bits
  const void* b;             // the same
  uint32_t a_number, b_number;
  bool bytes;
  int32_t dims;
  int64_t shape[kMaxDims];
  int64_t c_strides[kMaxDims];
  int64_t a_strides[kMaxDims];
  int64_t b_strides[kMaxDims];
};

// out = op(in), as functions.def says. Of integers only neg, abs, relu, clamp, sign and square.
enum class UnaryOp : int32_t {
#define UNARY(name, value, gradient) name,
#include "ops/functions.def"
};
struct UnaryArgs {
  UnaryOp op;
  bool integer;
  void* out;       // [n]
  const void* in;  // [n]
  int64_t n;
  double p, q, r;
};

// dx = dy * op'. `saved` is the output or the input, whichever functions.def has there.
struct UnaryBackwardArgs {
  UnaryOp op;
  float* dx;           // [n]
  const float* dy;     // [n]
  const float* saved;  // [n]
  int64_t n;
  double p, q, r;
};

// ---- Reductions over the middle dimension -----------------------------------------------------

// out = scale * sum; the same bits for any number of threads. Integers wrap around and take no
// scale.
struct SumArgs {
  bool integer;
  void* out;       // [outer, inner]
  const void* in;  // [outer, n, inner]
  int64_t outer, n, inner;
  float scale;
};

// The largest (or smallest), and where it first is. A NaN counts as larger, or smaller, than any
// number. n > 0.
struct MaxArgs {
  bool integer, smallest;
  void* value;     // [outer, inner] or null
  int32_t* index;  // [outer, inner] or null
  const void* in;  // [outer, n, inner]
  int64_t outer, n, inner;
};

// dx = dy at index, 0 elsewhere.
struct MaxBackwardArgs {
  float* dx;             // [outer, n, inner]
  const float* dy;       // [outer, inner]
  const int32_t* index;  // [outer, inner]
  int64_t outer, n, inner;
};

// dx = dy in equal parts wherever x equals value; NaN equals NaN.
struct ExtremeBackwardArgs {
  float* dx;           // [outer, n, inner]
  const float* dy;     // [outer, inner]
  const float* x;      // [outer, n, inner]
  const float* value;  // [outer, inner]
  int64_t outer, n, inner;
};

// y = softmax(x) over the middle dimension, or its logarithm.
struct SoftmaxArgs {
  bool log;
  float* y;        // [outer, n, inner]
  const float* x;  // [outer, n, inner]
  int64_t outer, n, inner;
};
struct SoftmaxBackwardArgs {
  bool log;
  float* dx;        // [outer, n, inner]
  const float* dy;  // [outer, n, inner]
  const float* y;   // [outer, n, inner]
  int64_t outer, n, inner;
};

// y = (x - mean) * scale * weight + bias, row by row; scale = 1 / sqrt(variance + eps).
struct LayerNormForwardArgs {
  const float* x;       // [rows, n]
  const float* weight;  // [n] or null: ones
  const float* bias;    // [n] or null; only beside a weight
  float* y;             // [rows, n]
  float* mean;          // [rows]
  float* scale;         // [rows]
  int64_t rows, n;
  float eps;
};
struct LayerNormBackwardArgs {
  const float* dy;      // [rows, n]
  const float* x;       // [rows, n]
  const float* weight;  // [n] or null
  const float* mean;    // [rows]
  const float* scale;   // [rows]
  float* dx;            // [rows, n] or null
  float* dweight;       // [n] or null
  float* dbias;         // [n] or null
  int64_t rows, n;
};

// ---- Shapes -----------------------------------------------------------------------------------

// out[i] = in[sum of i[d] * strides[d]]; strides may be 0 or negative. Elements of any type.
struct CopyStridedArgs {
  void* out;  // shape, contiguous
  const void* in;
  int32_t dims;
  bool bytes;
  int64_t shape[kMaxDims];
  int64_t strides[kMaxDims];
};

// The inputs side by side; a null input gives zeros. Elements of any type.
struct ConcatArgs {
  void* out;               // [outer, sum of widths]
  const void* const* ins;  // [count], each [outer, widths[i]]
  const int64_t* widths;   // [count]
  int64_t count, outer;
  bool bytes;
};

// ---- Matrix products --------------------------------------------------------------------------

// out[batch] = op(a)[batch] * op(b)[batch]; batches are broadcast by strides of 0.
struct MatmulArgs {
  float* out;      // [...shape, m, n]
  const float* a;  // [..., m, k], or [..., k, m] when transposed
  const float* b;  // [..., k, n], or [..., n, k] when transposed
  bool trans_a, trans_b;
  int64_t m, n, k;
  int32_t dims;  // of the batch
  int64_t shape[kMaxDims];
  int64_t a_strides[kMaxDims];  // in matrices
  int64_t b_strides[kMaxDims];
  bool bf16 = false;  // on the CPU: factors rounded to bfloat16
};

}  // namespace fused_rnn
