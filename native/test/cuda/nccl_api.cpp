// cuda/device/nccl_api.h beside NCCL's own header: the same numbers and the same functions.
// Compiled and linked by scripts/check-cuda.sh, where the header is there; it need not run.
#include "cuda/device/nccl_api.h"

#include <nccl.h>

#include <type_traits>

namespace fused_rnn::cuda {
namespace {

// The unary plus makes a number of an enum.
static_assert(+kNcclInt32 == +ncclInt32 && +kNcclFloat32 == +ncclFloat32);
static_assert(+kNcclSum == +ncclSum && +kNcclProduct == +ncclProd);
static_assert(+kNcclMax == +ncclMax && +kNcclMin == +ncclMin);
static_assert(kNcclSuccess == +ncclSuccess);
static_assert(sizeof(NcclId) == sizeof(ncclUniqueId) && alignof(NcclId) == alignof(ncclUniqueId));

// An enum is passed as the int that nccl_api.h says, an id as the struct of the same bytes;
// everything else has to be the same type.
template <class Ours, class Theirs>
constexpr bool same() {
  if constexpr (std::is_enum_v<Theirs>) {
    return std::is_same_v<Ours, int> && sizeof(Theirs) == sizeof(int);
  } else if constexpr (std::is_same_v<Theirs, ncclUniqueId>) {
    return std::is_same_v<Ours, NcclId>;
  } else if constexpr (std::is_same_v<Theirs, ncclUniqueId*>) {
    return std::is_same_v<Ours, NcclId*>;
  } else {
    return std::is_same_v<Ours, Theirs>;
  }
}
template <class R, class... A, class S, class... B>
constexpr bool same_function(R (*)(A...), S (*)(B...)) {
  if constexpr (sizeof...(A) == sizeof...(B)) {
    return same<R, S>() && (same<A, B>() && ...);
  } else {
    return false;
  }
}

}  // namespace

// Taken by their exported names, so that linking finds each in the library.
#define CHECK(function)                                                                \
  static_assert(same_function(decltype(NcclApi::function){}, &::function), #function); \
  extern decltype(&::function) const check_##function;                                 \
  decltype(&::function) const check_##function = &::function;
CHECK(ncclGetVersion)
CHECK(ncclGetUniqueId)
CHECK(ncclCommInitRank)
CHECK(ncclCommAbort)
CHECK(ncclCommDestroy)
CHECK(ncclAllReduce)
CHECK(ncclBroadcast)
CHECK(ncclAllGather)
CHECK(ncclGetErrorString)
#undef CHECK

}  // namespace fused_rnn::cuda
