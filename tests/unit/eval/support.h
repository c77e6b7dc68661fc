// What the evaluation's tests share: a random text, and ranks that are threads.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

#include <barrier>
#include <exception>
#include <thread>
#include <vector>

#include "caddie/communicator.h"
#include "caddie/services.h"
#include "core/eval/score.h"

namespace caddie::tests {

inline eval::Text random_text(std::int64_t targets, std::int64_t vocabulary, std::uint64_t seed = 1) {
  Random random(seed, "text");
  at::Tensor tokens = at::empty({targets + 1}, at::kInt), bytes = at::empty({targets}, at::kShort);
  for (std::int64_t i = 0; i <= targets; ++i) {
    tokens.mutable_data_ptr<int>()[i] = static_cast<int>(random.below(static_cast<std::uint64_t>(vocabulary)));
  }
  for (std::int64_t i = 0; i < targets; ++i) {
    bytes.mutable_data_ptr<std::int16_t>()[i] = static_cast<std::int16_t>(random.below(7));
  }
  return {tokens, bytes};
}

// Ranks that are threads of this process: run_ranks(3, body) calls body(communicator) on three threads at once and
// throws what the first failing rank threw (a rank that fails leaves the others waiting for nobody: its place is given
// up).
class Group {
 public:
  explicit Group(int size) : size(size), barrier(size), slots(static_cast<std::size_t>(size)) {}
  const int size;
  std::barrier<> barrier;
  std::vector<at::Tensor> slots;
};

class ThreadRank final : public Communicator {
 public:
  ThreadRank(Group& group, int rank) : group_(group), rank_(rank) {}
  int rank() const override { return rank_; }
  int size() const override { return group_.size; }
  void all_reduce_sum(at::Tensor& tensor) override {
    group_.slots[static_cast<std::size_t>(rank_)] = tensor.detach().clone();
    group_.barrier.arrive_and_wait();
    tensor.zero_();
    for (const auto& slot : group_.slots) tensor.add_(slot);
    group_.barrier.arrive_and_wait();
  }
  void broadcast(at::Tensor& tensor, int root) override {
    if (rank_ == root) group_.slots[0] = tensor.detach().clone();
    group_.barrier.arrive_and_wait();
    tensor.copy_(group_.slots[0]);
    group_.barrier.arrive_and_wait();
  }
  void barrier() override { group_.barrier.arrive_and_wait(); }

 private:
  Group& group_;
  int rank_;
};

template <class Body>
void run_ranks(int size, const Body& body) {
  Group group(size);
  std::vector<std::exception_ptr> errors(static_cast<std::size_t>(size));
  std::vector<std::thread> threads;
  for (int rank = 0; rank < size; ++rank) {
    threads.emplace_back([&, rank] {
      try {
        ThreadRank communicator(group, rank);
        body(communicator);
      } catch (...) {
        errors[static_cast<std::size_t>(rank)] = std::current_exception();
      }
      group.barrier.arrive_and_drop();
    });
  }
  for (auto& thread : threads) thread.join();
  for (const auto& error : errors) {
    if (error) std::rethrow_exception(error);
  }
}

}  // namespace caddie::tests
