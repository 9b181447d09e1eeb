#include "distributed/collective_text.h"

namespace fused_rnn::distributed {

const char* name_of(CollectiveKind kind) {
  switch (kind) {
    case CollectiveKind::all_reduce:
      return "allReduce";
    case CollectiveKind::broadcast:
      return "broadcast";
    case CollectiveKind::all_gather:
      return "allGather";
    case CollectiveKind::barrier:
      break;
  }
  return "barrier";
}

std::string describe(const Collective& collective) {
  std::string text = name_of(collective.kind);
  if (collective.kind == CollectiveKind::all_reduce) {
    constexpr const char* kOps[] = {"sum", "min", "max", "product"};  // by Reduce
    text += std::string(" (") + kOps[static_cast<int>(collective.op)] + ")";
  }
  if (collective.kind == CollectiveKind::broadcast)
    text += " from " + std::to_string(collective.root);
  if (collective.kind == CollectiveKind::barrier) return text;
  const char* dtype = collective.dtype == DType::int32 ? "int32" : "float32";
  return text + " of " + std::to_string(collective.count) + " " + dtype;
}

std::string numbered(const Collective& collective, uint64_t number) {
  return std::string("[") + name_of(collective.kind) + "] collective number " +
         std::to_string(number) + ", " + describe(collective) + ",";
}

bool same(const Collective& a, const Collective& b) {
  return a.kind == b.kind && a.op == b.op && a.dtype == b.dtype && a.root == b.root &&
         a.count == b.count;
}

}  // namespace fused_rnn::distributed
