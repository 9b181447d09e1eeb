// fused_rnn/c.h is C.
#include <fused_rnn/c.h>

static int deleted = 0;

static void count(DLManagedTensor* tensor) {
  (void)tensor;
  deleted += 1;
}

// 1 when a capsule gives its tensor once.
int plain_c_works(void) {
  DLManagedTensor tensor = {{0}, NULL, count};
  FusedRnnCapsule capsule = {&tensor};
  DLManagedTensor* taken = fused_rnn_take(&capsule);
  const int once = taken == &tensor && fused_rnn_take(&capsule) == NULL;
  fused_rnn_delete(taken);
  fused_rnn_delete(NULL);
  return once && deleted == 1;
}
