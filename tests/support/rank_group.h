// Ranks as threads of one process, for tests of code that runs on several: sums in rank order, like the real thing.
#pragma once

#include <ATen/core/grad_mode.h>

#include <barrier>
#include <exception>
#include <functional>
#include <thread>
#include <vector>

#include "caddie/communicator.h"

namespace caddie::testing {

class RankGroup {
 public:
  explicit RankGroup(int size) : tensors_(static_cast<std::size_t>(size)), barrier_(size) {}

  // Runs `body` once a rank, each in a thread of its own, and passes the first exception on. A rank that throws drops out,
  // so the others are not left waiting.
  void run(const std::function<void(Communicator&)>& body) {
    std::vector<std::thread> threads;
    std::vector<std::exception_ptr> errors(tensors_.size());
    for (int rank = 0; rank < static_cast<int>(tensors_.size()); ++rank)
      threads.emplace_back([this, rank, &body, &errors] {
        Member member(*this, rank);
        try {
          body(member);
        } catch (...) {
          errors[static_cast<std::size_t>(rank)] = std::current_exception();
          barrier_.arrive_and_drop();
        }
      });
    for (auto& thread : threads) thread.join();
    for (const auto& error : errors)
      if (error) std::rethrow_exception(error);
  }

 private:
  class Member final : public Communicator {
   public:
    Member(RankGroup& group, int rank) : group_(group), rank_(rank) {}
    int rank() const override { return rank_; }
    int size() const override { return static_cast<int>(group_.tensors_.size()); }
    void all_reduce_sum(at::Tensor& tensor) override {
      const at::NoGradGuard guard;
      group_.tensors_[static_cast<std::size_t>(rank_)] = tensor.clone();
      barrier();
      at::Tensor sum = group_.tensors_[0].clone();
      for (std::size_t i = 1; i < group_.tensors_.size(); ++i) sum.add_(group_.tensors_[i]);
      barrier();
      tensor.copy_(sum);
    }
    std::unique_ptr<PendingOperation> start_all_reduce_sum(at::Tensor tensor) override {
      all_reduce_sum(tensor);
      return nullptr;
    }
    void all_gather(at::Tensor& rows) override {
      const at::NoGradGuard guard;
      group_.tensors_[static_cast<std::size_t>(rank_)] = rows.select(0, rank_).clone();
      barrier();
      for (int i = 0; i < size(); ++i) rows.select(0, i).copy_(group_.tensors_[static_cast<std::size_t>(i)]);
      barrier();
    }
    void broadcast(at::Tensor& tensor, int root) override {
      const at::NoGradGuard guard;
      if (rank_ == root) group_.tensors_[0] = tensor.clone();
      barrier();
      tensor.copy_(group_.tensors_[0]);
      barrier();
    }
    void barrier() override { group_.barrier_.arrive_and_wait(); }

   private:
    RankGroup& group_;
    int rank_;
  };

  std::vector<at::Tensor> tensors_;
  std::barrier<> barrier_;
};

}  // namespace caddie::testing
