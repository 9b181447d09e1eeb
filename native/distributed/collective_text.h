// A collective in words, for messages.
#pragma once

#include <cstdint>
#include <string>

#include "ops/collective.h"

namespace fused_rnn::distributed {

// "allReduce", as users call it.
const char* name_of(CollectiveKind kind);
// "broadcast from 2 of 100 float32"
std::string describe(const Collective& collective);
// "[allReduce] collective number 7, allReduce (sum) of 100 float32,": for what the watchdog says.
std::string numbered(const Collective& collective, uint64_t number);
// Whether all processes may do the two together.
bool same(const Collective& a, const Collective& b);

}  // namespace fused_rnn::distributed
