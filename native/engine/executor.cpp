#include "engine/executor.h"

#include <cstring>
#include <exception>

#include "core/allocator.h"
#include "distributed/mpi.h"

namespace fused_rnn {

const ThreadChoice& default_threads() {
  static const ThreadChoice choice =
      choose_threads(usable_processors(distributed::local_processes()));
  return choice;
}

Buffer upload(Executor& executor, const void* from, int64_t length, DType dtype) {
  const Buffer values = Buffer::make(length, dtype);
  const size_t bytes = values.storage->bytes();
  if (bytes > 0) std::memcpy(values.raw(), from, bytes);
  if (executor.device == nullptr) return values;
  const Buffer out = Buffer::make(length, dtype, executor.device);
  executor.enqueue(pure("upload"), cost::elements(length), {}, {out},
                   [=](const Backend&, Context& context) {
                     context.device->upload(out.raw(), values.raw(), bytes);
                   });
  return out;
}

std::string report(Queue& queue, Buffers reads, const std::function<void()>& work) {
  std::string error = queue.take_error();
  for (const Buffer& buffer : reads) {
    if (error.empty() && buffer.storage->poisoned()) error = *buffer.storage->poisoned();
  }
  if (!error.empty()) return error;
  try {
    work();
  } catch (const std::exception& e) {
    error = e.what();
  }
  return error;
}

void copy_out(const Buffer& buffer, void* to) {
  const size_t bytes = buffer.bytes();
  if (bytes == 0) return;
  const void* from = buffer.raw();
  // The receiver's pages are taken only now, as they are written.
  host_check_available("data", bytes);
  const std::shared_ptr<Device>& device = buffer.storage->device();
  if (device == nullptr) {
    std::memcpy(to, from, bytes);
  } else {
    device->download(to, from, bytes);
  }
}

}  // namespace fused_rnn
