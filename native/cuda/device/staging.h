// Pinned memory between arrays of the host and the device: pieces that are used in turn, so that
// one is copied by the host while another one is on its way.
#pragma once

#include "cuda/device/runtime.h"

namespace fused_rnn::cuda {

class Staging {
 public:
  Staging();
  ~Staging();
  Staging(const Staging&) = delete;
  Staging& operator=(const Staging&) = delete;

  // In the order of the stream. upload() has read `from` when it returns, download() has written
  // `to`.
  void upload(void* to, const void* from, size_t bytes, cudaStream_t stream);
  void download(void* to, const void* from, size_t bytes, cudaStream_t stream);

 private:
  static constexpr size_t kPieceBytes = size_t{1} << 20;
  static constexpr int kPieces = 4;

  struct Piece {
    void* data = nullptr;
    cudaEvent_t copied = nullptr;
  };

  // The next piece, once the device has read what was in it.
  Piece& take();

  Piece pieces_[kPieces];
  int next_ = 0;
};

}  // namespace fused_rnn::cuda
