#include "cuda/device/staging.h"

#include <algorithm>
#include <cstring>

namespace fused_rnn::cuda {

Staging::Staging() {
  for (Piece& piece : pieces_) {
    check(cudaHostAlloc(&piece.data, kPieceBytes, cudaHostAllocDefault), "cudaHostAlloc");
    check(cudaEventCreateWithFlags(&piece.copied, cudaEventDisableTiming), "cudaEventCreate");
  }
}

Staging::~Staging() {
  for (Piece& piece : pieces_) {
    if (piece.data != nullptr) cudaFreeHost(piece.data);
    if (piece.copied != nullptr) cudaEventDestroy(piece.copied);
  }
}

Staging::Piece& Staging::take() {
  Piece& piece = pieces_[next_];
  next_ = (next_ + 1) % kPieces;
  check(cudaEventSynchronize(piece.copied), "cudaEventSynchronize");
  return piece;
}

void Staging::upload(void* to, const void* from, size_t bytes, cudaStream_t stream) {
  for (size_t at = 0; at < bytes; at += kPieceBytes) {
    const size_t count = std::min(kPieceBytes, bytes - at);
    Piece& piece = take();
    std::memcpy(piece.data, static_cast<const char*>(from) + at, count);
    check(cudaMemcpyAsync(static_cast<char*>(to) + at, piece.data, count, cudaMemcpyHostToDevice,
                          stream),
          "cudaMemcpyAsync");
    check(cudaEventRecord(piece.copied, stream), "cudaEventRecord");
  }
}

void Staging::download(void* to, const void* from, size_t bytes, cudaStream_t stream) {
  // Each piece is copied out while the next one is on its way.
  size_t done = 0, size_before = 0;
  Piece* before = nullptr;
  const auto take_out = [&] {
    if (before == nullptr) return;
    check(cudaEventSynchronize(before->copied), "cudaEventSynchronize");
    std::memcpy(static_cast<char*>(to) + done, before->data, size_before);
    done += size_before;
  };
  for (size_t at = 0; at < bytes; at += kPieceBytes) {
    const size_t count = std::min(kPieceBytes, bytes - at);
    Piece& piece = take();
    check(cudaMemcpyAsync(piece.data, static_cast<const char*>(from) + at, count,
                          cudaMemcpyDeviceToHost, stream),
          "cudaMemcpyAsync");
    check(cudaEventRecord(piece.copied, stream), "cudaEventRecord");
    take_out();
    before = &piece;
    size_before = count;
  }
  take_out();
}

}  // namespace fused_rnn::cuda
