// Recurrent networks from C++, without Node: everything a native program needs.
#pragma once

#include "fused_rnn/language_model.h"
#include "fused_rnn/layers.h"
#include "fused_rnn/safetensors.h"
#include "fused_rnn/task_models.h"
#include "fused_rnn/tensor.h"
