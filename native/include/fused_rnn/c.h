/* Tensors between libraries without a copy, in plain C; this header needs no library.
 *
 * The structs are DLPack's (https://github.com/dmlc/dlpack, ABI of the versions before 1.0, which
 * DLManagedTensor has in all): PyTorch, NumPy, JAX and others know them. Include the original
 * before this header, and these declarations make way for it. */
#ifndef FUSED_RNN_C_H_
#define FUSED_RNN_C_H_

#include <stddef.h>
#include <stdint.h>

#ifndef DLPACK_DLPACK_H_

#ifdef __cplusplus
extern "C" {
#endif

/* Of device types; others are not fused-rnn's. */
enum { kDLCPU = 1, kDLCUDA = 2 };
/* Of type codes. */
enum { kDLInt = 0, kDLUInt = 1, kDLFloat = 2, kDLBool = 6 };

typedef struct {
  int32_t device_type;
  int32_t device_id; /* 0 for the CPU */
} DLDevice;

typedef struct {
  uint8_t code;
  uint8_t bits;
  uint16_t lanes; /* 1 */
} DLDataType;

typedef struct {
  void* data; /* where the allocation begins */
  DLDevice device;
  int32_t ndim;
  DLDataType dtype;
  int64_t* shape;   /* [ndim] */
  int64_t* strides; /* [ndim], in elements; NULL: row-major without gaps */
  uint64_t byte_offset;
} DLTensor;

typedef struct DLManagedTensor {
  DLTensor dl_tensor;
  void* manager_ctx;
  /* Called once by who has it last; may be NULL. */
  void (*deleter)(struct DLManagedTensor* self);
} DLManagedTensor;

#ifdef __cplusplus
}
#endif

#endif /* DLPACK_DLPACK_H_ */

/* What toDlpack() of the npm package returns and fromDlpack() takes is an N-API external with this
 * as its data, tagged (napi_type_tag_object) with the two numbers below. Who takes the tensor
 * puts NULL in its place, and will call its deleter; an external that is collected with the tensor
 * still in it calls the deleter itself. */
typedef struct {
  DLManagedTensor* tensor;
} FusedRnnCapsule;

#define FUSED_RNN_CAPSULE_TAG_LOWER UINT64_C(0x9b1f6f0d2c7e4a51)
#define FUSED_RNN_CAPSULE_TAG_UPPER UINT64_C(0x6675736564726e6e)

/* The tensor, now the caller's; NULL when somebody has taken it before. */
static inline DLManagedTensor* fused_rnn_take(FusedRnnCapsule* capsule) {
  DLManagedTensor* tensor = capsule->tensor;
  capsule->tensor = NULL;
  return tensor;
}

/* Gives a tensor up. */
static inline void fused_rnn_delete(DLManagedTensor* tensor) {
  if (tensor != NULL && tensor->deleter != NULL) tensor->deleter(tensor);
}

#endif /* FUSED_RNN_C_H_ */
