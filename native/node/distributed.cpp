// The processes that train together.
#include "engine/collectives.h"
#include "node/addon.h"

namespace fused_rnn::node {
namespace {

using distributed::ProcessGroup;

// mpi(): { missing, version }: why MPI cannot be used, or an empty string; what it calls itself.
Napi::Value mpi(Addon&, Args& args) {
  ProcessGroup& group = ProcessGroup::instance();
  auto result = Napi::Object::New(args.env());
  result.Set("missing", group.missing());
  result.Set("version", group.version());
  return result;
}

// ncclMissing(): why NCCL cannot be used, or an empty string.
Napi::Value nccl_missing(Addon&, Args& args) {
  return Napi::String::New(args.env(), fused_rnn::nccl_missing());
}

// launchedProcesses()
Napi::Value launched_processes(Addon&, Args& args) {
  return Napi::Number::New(args.env(), distributed::launched_processes());
}

// localRank()
Napi::Value local_rank(Addon&, Args& args) {
  return Napi::Number::New(args.env(), distributed::local_rank());
}

void push_wait_for_change(Addon& addon, const char* op) {
  Job job;
  job.op = op;
  job.run = [](Context& context) { ProcessGroup::instance().wait_for_change(context.stopping); };
  addon.cpu().queue.push(std::move(job));
}

// joinGroup(nccl, timeout): begins; the CPU's queue waits for the others. The timeout in seconds.
Napi::Value join_group(Addon& addon, Args& args) {
  const bool nccl = args.boolean();
  ProcessGroup::instance().join(nccl, args.number());
  push_wait_for_change(addon, "init");
  return args.env().Undefined();
}

// groupTimeout(seconds)
Napi::Value group_timeout(Addon&, Args& args) {
  ProcessGroup::instance().set_timeout(args.number());
  return args.env().Undefined();
}

// leaveGroup(): the same.
Napi::Value leave_group(Addon& addon, Args& args) {
  for (Executor* executor : addon.executors()) leave_gpus(*executor);
  ProcessGroup::instance().leave();
  push_wait_for_change(addon, "destroy");
  return args.env().Undefined();
}

// group(): [rank, size], or null when there is none.
Napi::Value group(Addon&, Args& args) {
  const ProcessGroup& group = ProcessGroup::instance();
  if (!group.joined()) return args.env().Null();
  auto result = Napi::Array::New(args.env(), 2);
  result.Set(0u, group.rank());
  result.Set(1u, group.size());
  return result;
}

// breakGroup(why)
Napi::Value break_group(Addon&, Args& args) {
  ProcessGroup::instance().refuse(args.text());
  return args.env().Undefined();
}

// endGroup(code): as the process ends.
Napi::Value end_group(Addon&, Args& args) {
  ProcessGroup::instance().end(static_cast<int>(args.integer()));
  return args.env().Undefined();
}

// traffic(): since the group was joined.
Napi::Value traffic(Addon&, Args& args) {
  const distributed::Traffic traffic = ProcessGroup::instance().traffic();
  auto result = Napi::Object::New(args.env());
  result.Set("calls", static_cast<double>(traffic.calls));
  result.Set("bytes", static_cast<double>(traffic.bytes));
  result.Set("seconds", traffic.seconds);
  result.Set("waited", traffic.waited);
  return result;
}

// MPI and NCCL are told of elements of four bytes.
Buffer read_values(Args& args) {
  Buffer x = args.buffer();
  if (x.dtype == DType::boolean) {
    throw Napi::TypeError::New(args.env(), "internal: a collective of booleans");
  }
  return x;
}

// allReduce(x, op, mean)
Napi::Value all_reduce(Addon& addon, Args& args) {
  const Buffer x = read_values(args);
  const auto op = static_cast<Reduce>(args.size());
  const bool mean = args.boolean();
  fused_rnn::all_reduce(addon.executor_of({x}, {}), x, op, mean);
  return args.env().Undefined();
}

// broadcast(x, root)
Napi::Value broadcast(Addon& addon, Args& args) {
  const Buffer x = read_values(args);
  fused_rnn::broadcast(addon.executor_of({x}, {}), x, static_cast<int>(args.size()));
  return args.env().Undefined();
}

// allGather(x) → buffer [processes, x.length]
Napi::Value all_gather(Addon& addon, Args& args) {
  const Buffer x = read_values(args);
  const Buffer out = x.beside(ProcessGroup::instance().size() * x.length, x.dtype);
  fused_rnn::all_gather(addon.executor_of({x}, {}), x, out);
  return addon.wrap(out);
}

// barrier()
Napi::Value barrier(Addon& addon, Args& args) {
  fused_rnn::barrier(addon.cpu());
  return args.env().Undefined();
}

// checkSame(op, what, text)
Napi::Value check_same(Addon& addon, Args& args) {
  const std::string op = args.text();
  const std::string what = args.text();
  fused_rnn::check_same(addon.cpu(), op, what, args.text());
  return args.env().Undefined();
}

std::vector<Buffer> read_grads(Args& args, int64_t& total) {
  std::vector<Buffer> grads = args.buffers();
  for (const Buffer& grad : grads) {
    if (!grad) throw Napi::TypeError::New(args.env(), "internal: a gradient is missing");
    args.expect(grad, grad.length);
    total += grad.length;
  }
  return grads;
}

// beginAverage(grads, weight) → [ticket, flat], for endAverage
Napi::Value begin_average(Addon& addon, Args& args) {
  int64_t total = 0;
  const std::vector<Buffer> grads = read_grads(args, total);
  if (grads.empty()) throw Napi::TypeError::New(args.env(), "internal: no gradients");
  const auto weight = static_cast<float>(args.number());
  const Buffer flat = grads[0].beside(total + 1);
  const uint64_t ticket =
      fused_rnn::begin_average(addon.executor_of(grads, {flat}), flat, grads, weight);
  auto result = Napi::Array::New(args.env(), 2);
  result.Set(0u, static_cast<double>(ticket));
  result.Set(1u, addon.wrap(flat));
  return result;
}

// endAverage(ticket, flat, grads)
Napi::Value end_average(Addon& addon, Args& args) {
  const auto ticket = static_cast<uint64_t>(args.size());
  const Buffer flat = args.buffer();
  int64_t total = 0;
  const std::vector<Buffer> grads = read_grads(args, total);
  args.expect(flat, total + 1);
  fused_rnn::end_average(addon.executor_of(grads, {flat}), ticket, flat, grads);
  return args.env().Undefined();
}

}  // namespace

void register_distributed(Napi::Env env, Napi::Object exports, Addon* addon) {
  add_entry<mpi>(env, exports, "mpi", addon);
  add_entry<nccl_missing>(env, exports, "ncclMissing", addon);
  add_entry<launched_processes>(env, exports, "launchedProcesses", addon);
  add_entry<local_rank>(env, exports, "localRank", addon);
  add_entry<join_group>(env, exports, "joinGroup", addon);
  add_entry<group_timeout>(env, exports, "groupTimeout", addon);
  add_entry<leave_group>(env, exports, "leaveGroup", addon);
  add_entry<group>(env, exports, "group", addon);
  add_entry<break_group>(env, exports, "breakGroup", addon);
  add_entry<end_group>(env, exports, "endGroup", addon);
  add_entry<traffic>(env, exports, "traffic", addon);
  add_entry<all_reduce>(env, exports, "allReduce", addon);
  add_entry<broadcast>(env, exports, "broadcast", addon);
  add_entry<all_gather>(env, exports, "allGather", addon);
  add_entry<barrier>(env, exports, "barrier", addon);
  add_entry<check_same>(env, exports, "checkSame", addon);
  add_entry<begin_average>(env, exports, "beginAverage", addon);
  add_entry<end_average>(env, exports, "endAverage", addon);
}

}  // namespace fused_rnn::node
