#include "node/addon.h"
namespace fused_rnn::node {
void register_recurrent(Napi::Env, Napi::Object, Addon*) {}
}  // namespace fused_rnn::node
