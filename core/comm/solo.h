// The communicator of a run with one rank: every operation returns at once.
#pragma once

#include "caddie/communicator.h"

namespace caddie {

class CADDIE_API SoloCommunicator final : public Communicator {
 public:
  ~SoloCommunicator() override;
  int rank() const override { return 0; }
  int size() const override { return 1; }
  void all_reduce_sum(at::Tensor&) override {}
  std::unique_ptr<PendingOperation> start_all_reduce_sum(at::Tensor) override { return nullptr; }
  void all_gather(at::Tensor&) override {}
  void broadcast(at::Tensor& tensor, int root) override;  // Error(failed) for a root other than 0
  void barrier() override {}
};

}  // namespace caddie
