// The run's communicator with a switch: muted, no operation does anything, so that a step is this rank's own work alone, on
// numbers that mean nothing. For timing. All ranks must switch at the same operation.
#pragma once

#include <memory>
#include <utility>

#include "caddie/communicator.h"

namespace caddie::bench {

class MutedCommunicator final : public Communicator {
 public:
  explicit MutedCommunicator(Communicator& ranks) : ranks_(ranks) {}
  void mute(bool on) { muted_ = on; }
  bool muted() const { return muted_; }

  int rank() const override { return ranks_.rank(); }
  int size() const override { return ranks_.size(); }
  void all_reduce_sum(at::Tensor& tensor) override {
    if (!muted_) ranks_.all_reduce_sum(tensor);
  }
  std::unique_ptr<PendingOperation> start_all_reduce_sum(at::Tensor tensor) override {
    return muted_ ? nullptr : ranks_.start_all_reduce_sum(std::move(tensor));
  }
  void all_gather(at::Tensor& rows) override {
    if (!muted_) ranks_.all_gather(rows);
  }
  void broadcast(at::Tensor& tensor, int root) override {
    if (!muted_) ranks_.broadcast(tensor, root);
  }
  void barrier() override {
    if (!muted_) ranks_.barrier();
  }

 private:
  Communicator& ranks_;
  bool muted_ = false;
};

}  // namespace caddie::bench
