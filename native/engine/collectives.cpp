#include "engine/collectives.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <memory>
#include <sstream>
#include <stdexcept>
#include <utility>

#include "ops/cuda.h"

namespace fused_rnn {
namespace {

using distributed::Call;
using distributed::ProcessGroup;
using Kind = CollectiveKind;

// A collective's place in the order of all processes: drawn at the call, used by the job that holds
// it. When that is left out or dropped, the group hears of it. A GPU's are NCCL's if the group has
// that; else MPI gets the values by way of the host.
class Turn {
 public:
  explicit Turn(const Executor& executor)
      : nccl_(executor.device != nullptr && ProcessGroup::instance().by_nccl()),
        number_(nccl_ ? ProcessGroup::instance().nccl_number()
                      : ProcessGroup::instance().ticket()) {}
  ~Turn() {
    if (used_) return;
    nccl_ ? ProcessGroup::instance().skip_number() : ProcessGroup::instance().skip(number_);
  }
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;

  bool nccl() const { return nccl_; }
  uint64_t number() const { return number_; }

  // With the values of `buffer`.
  void submit(Collective collective, const Buffer& buffer, const Context& context) {
    collective.dtype = buffer.dtype;
    if (nccl_) {
      collective.data = buffer.raw();
      used_ = true;
      return nccl_start(*context.device, number_, collective);
    }
    const Buffer host = on_host(buffer, context);
    Call call{collective, host.storage};
    call.data = host.raw();
    used_ = true;
    ProcessGroup::instance().submit(number_, std::move(call));
  }

 private:
  static Buffer on_host(const Buffer& buffer, const Context& context) {
    if (buffer.storage->device() == nullptr) return buffer;
    const Buffer host = Buffer::make(buffer.length, buffer.dtype);
    context.device->download(host.raw(), buffer.raw(), buffer.bytes());
    return host;
  }

  const bool nccl_;
  const uint64_t number_;
  bool used_ = false;
};

// Waits for a collective whose result belongs into `buffer`. A GPU waits by itself.
void receive(bool nccl, uint64_t number, const Buffer& buffer, const Context& context) {
  if (nccl) return nccl_finish(*context.device, number);
  const Call call = ProcessGroup::instance().wait(number, context.stopping);
  if (buffer.storage->device() == nullptr) return;
  context.device->upload(buffer.raw(), call.data, buffer.bytes());
}
void receive(const Turn& turn, const Buffer& buffer, const Context& context) {
  receive(turn.nccl(), turn.number(), buffer, context);
}

// Never on the JavaScript thread, however small.
void push(Executor& executor, const char* op, Buffers reads, Buffers writes,
          std::function<void(Context&)> run) {
  Job job;
  job.op = op;
  job.reads.assign(reads.begin(), reads.end());
  job.writes.assign(writes.begin(), writes.end());
  job.run = std::move(run);
  executor.queue.push(std::move(job));
}

// out[i] = a[i] op b, for all of out.
BinaryArgs with_one(BinaryOp op, const Buffer& out, const float* a, const float* b, float number) {
  BinaryArgs args{};
  args.op = op;
  args.out = out.f32();
  args.a = a;
  args.b = b;
  args.number = std::bit_cast<uint32_t>(number);
  args.dims = 1;
  args.shape[0] = out.length;
  args.a_strides[0] = 1;
  return args;
}

Buffer part(const Buffer& of, int64_t offset, int64_t length) {
  return {of.storage, of.offset + offset, length, of.dtype};
}

// The first lines that differ.
std::pair<std::string, std::string> first_difference(const std::string& a, const std::string& b) {
  std::istringstream as(a), bs(b);
  for (;;) {
    std::string x, y;
    const bool more_a = static_cast<bool>(std::getline(as, x));
    const bool more_b = static_cast<bool>(std::getline(bs, y));
    if (more_a && more_b && x == y) continue;
    return {more_a ? x : "no more", more_b ? y : "no more"};
  }
}

// Before the first collective of a GPU: NCCL's communicator, whose id goes by MPI.
void meet_gpus(Executor& executor) {
  ProcessGroup& group = ProcessGroup::instance();
  if (executor.device == nullptr || !group.by_nccl() || !group.is_new(executor.device.get()))
    return;
  const uint64_t ticket = group.ticket();
  auto unused = std::shared_ptr<bool>(new bool(true), [ticket](bool* unused) {
    if (*unused) ProcessGroup::instance().skip(ticket);
    delete unused;
  });
  push(executor, "init", {}, {}, [ticket, unused = std::move(unused)](Context& context) {
    ProcessGroup& group = ProcessGroup::instance();
    try {
      const Buffer id = Buffer::make(32, DType::int32);
      if (group.rank() == 0) {
        const std::string made = nccl_new_id();
        std::memcpy(id.raw(), made.data(), std::min<size_t>(made.size(), 128));
      }
      Call call{{.kind = Kind::broadcast, .dtype = DType::int32, .root = 0, .count = 32},
                id.storage};
      call.data = id.raw();
      *unused = false;
      group.submit(ticket, std::move(call));
      group.wait(ticket, context.stopping);
      const std::string shared(static_cast<const char*>(id.raw()), 128);
      const ProcessGroup::Blocked blocked(group, "[init] NCCL's");
      group.watch(nccl_join(*context.device, shared, group.rank(), group.size()));
    } catch (const std::exception& e) {
      group.refuse(e.what());
      throw;
    }
  });
}

std::shared_ptr<Turn> turn_of(Executor& executor) {
  try {
    meet_gpus(executor);
    return std::make_shared<Turn>(executor);
  } catch (const std::runtime_error&) {
    // Why there can be no more, if an operation of this process is to blame.
    const std::string failure = executor.queue.take_error();
    if (failure.empty()) throw;
    throw std::runtime_error(failure);
  }
}

}  // namespace

void all_reduce(Executor& executor, const Buffer& x, Reduce op, bool mean) {
  auto turn = turn_of(executor);
  const auto processes = static_cast<float>(ProcessGroup::instance().size());
  const Backend& backend = executor.backend;
  push(executor, "allReduce", {x}, {x}, [=, &backend](Context& context) {
    turn->submit({.kind = Kind::all_reduce, .op = op, .count = x.length}, x, context);
    receive(*turn, x, context);
    if (mean) backend.binary(with_one(BinaryOp::div, x, x.f32(), nullptr, processes), context);
  });
}

void broadcast(Executor& executor, const Buffer& x, int root) {
  auto turn = turn_of(executor);
  push(executor, "broadcast", {x}, {x}, [=](Context& context) {
    turn->submit({.kind = Kind::broadcast, .root = root, .count = x.length}, x, context);
    receive(*turn, x, context);
  });
}

void all_gather(Executor& executor, const Buffer& x, const Buffer& out) {
  auto turn = turn_of(executor);
  const Buffer own = part(out, ProcessGroup::instance().rank() * x.length, x.length);
  const Backend& backend = executor.backend;
  push(executor, "allGather", {x}, {out}, [=, &backend](Context& context) {
    backend.copy({own.raw(), x.raw(), static_cast<int64_t>(own.bytes())}, context);
    turn->submit({.kind = Kind::all_gather, .count = x.length}, out, context);
    receive(*turn, out, context);
  });
}

void leave_gpus(Executor& executor) {
  if (executor.device == nullptr || !ProcessGroup::instance().by_nccl()) return;
  push(executor, "destroy", {}, {}, [](Context& context) {
    const ProcessGroup::Blocked blocked(ProcessGroup::instance(), "[destroy] NCCL's");
    nccl_leave(*context.device);
  });
}

void barrier(Executor& executor) {
  auto turn = turn_of(executor);
  const Buffer nothing = Buffer::make(0);
  push(executor, "barrier", {}, {}, [=](Context& context) {
    turn->submit({.kind = Kind::barrier}, nothing, context);
    receive(*turn, nothing, context);
  });
}

void check_same(Executor& executor, std::string op, std::string what, std::string text) {
  auto lengths_turn = turn_of(executor);
  auto texts_turn = turn_of(executor);
  push(executor, "checkSame", {}, {}, [=](Context& context) {
    ProcessGroup& group = ProcessGroup::instance();
    const Buffer lengths = Buffer::make(group.size(), DType::int32);
    lengths.i32()[group.rank()] = static_cast<int32_t>(text.size());
    lengths_turn->submit({.kind = Kind::all_gather, .count = 1}, lengths, context);
    receive(*lengths_turn, lengths, context);
    const int32_t longest = *std::max_element(lengths.i32(), lengths.i32() + group.size());
    const int64_t words = longest / 4 + 1;
    const Buffer texts = Buffer::make(words * group.size(), DType::int32);
    const auto text_of = [&](int rank) {
      return reinterpret_cast<char*>(texts.i32() + rank * words);
    };
    std::memcpy(text_of(group.rank()), text.data(), text.size());
    texts_turn->submit({.kind = Kind::all_gather, .count = words}, texts, context);
    receive(*texts_turn, texts, context);
    const std::string first(text_of(0), static_cast<size_t>(lengths.i32()[0]));
    for (int rank = 1; rank < group.size(); ++rank) {
      const std::string other(text_of(rank), static_cast<size_t>(lengths.i32()[rank]));
      if (other == first) continue;
      const auto [a, b] = first_difference(first, other);
      const std::string message = "[" + op + "] " + what +
                                  ": expected the same in all processes, got " + a +
                                  " on rank 0 and " + b + " on rank " + std::to_string(rank);
      group.refuse(message);
      throw std::runtime_error(message);
    }
  });
}

uint64_t begin_average(Executor& executor, const Buffer& flat, const std::vector<Buffer>& grads,
                       float weight) {
  auto turn = turn_of(executor);
  const uint64_t ticket = turn->number();
  const Backend& backend = executor.backend;
  push(executor, "average", grads, {flat}, [=, &backend](Context& context) {
    int64_t offset = 0;
    for (const Buffer& grad : grads) {
      const Buffer out = part(flat, offset, grad.length);
      backend.binary(with_one(BinaryOp::mul, out, grad.f32(), nullptr, weight), context);
      offset += grad.length;
    }
    backend.fill({flat.f32() + offset, 1, weight}, context);
    turn->submit({.kind = Kind::all_reduce, .op = Reduce::sum, .count = flat.length}, flat,
                 context);
  });
  return ticket;
}

void end_average(Executor& executor, uint64_t ticket, const Buffer& flat,
                 const std::vector<Buffer>& grads) {
  const Backend& backend = executor.backend;
  const bool nccl = executor.device != nullptr && ProcessGroup::instance().by_nccl();
  push(executor, "average", {flat}, grads, [=, &backend](Context& context) {
    receive(nccl, ticket, flat, context);
    const float* values = flat.f32();
    const float* total = values + flat.length - 1;
    for (const Buffer& grad : grads) {
      backend.binary(with_one(BinaryOp::div, grad, values, total, 0), context);
      values += grad.length;
    }
  });
}

}  // namespace fused_rnn
