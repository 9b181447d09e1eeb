#include "cpu/isa.h"
FUSED_RNN_KERNELS_BEGIN
void rnn_forward(const RnnForwardArgs&, Context&) {}
void rnn_backward(const RnnBackwardArgs&, Context&) {}
FUSED_RNN_KERNELS_END
