// What a shared library shows.
#pragma once

#if defined(__GNUC__)
#define FUSED_RNN_API __attribute__((visibility("default")))
#else
#define FUSED_RNN_API
#endif
