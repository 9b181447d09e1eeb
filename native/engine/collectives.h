// Collectives of the processes that train together, in the order of a queue. The call draws the
// place in the order of all; the work is the queue's and the thread's of
// distributed/process_group.h, or, on a GPU of a group with NCCL, the GPU's.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "distributed/process_group.h"
#include "engine/executor.h"

namespace fused_rnn {

// x[i] = op over all processes of x[i]; `mean` divides the sum by their number (of float32).
void all_reduce(Executor& executor, const Buffer& x, Reduce op, bool mean);
// x becomes that of process `root`.
void broadcast(Executor& executor, const Buffer& x, int root);
// x [n] → out [processes, n]
void all_gather(Executor& executor, const Buffer& x, const Buffer& out);
void barrier(Executor& executor);
// Before the group is left, for every executor.
void leave_gpus(Executor& executor);
// Fails, in the queue and in every process, unless all have the same lines. `op` and `what` are for
// the message, which gives the first line that differs.
void check_same(Executor& executor, std::string op, std::string what, std::string text);

// The mean of gradients over all processes, each with a weight of its own, begun by one call and
// ended by another: what is queued in between runs meanwhile. `flat` has one element more than the
// gradients together; the result of begin is for end. Poisoned gradients cannot be averaged: the
// group is then of no more use (ProcessGroup::skip).
uint64_t begin_average(Executor& executor, const Buffer& flat, const std::vector<Buffer>& grads,
                       float weight);
void end_average(Executor& executor, uint64_t ticket, const Buffer& flat,
                 const std::vector<Buffer>& grads);

}  // namespace fused_rnn
