// Adds the gradients of all ranks while the backward pass still runs: the arena is cut into buckets, and a bucket's sum is
// started as soon as autograd has added the last of its gradients. Buckets are started in one order, that of the model
// from its end, so that all ranks start the same.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "caddie/communicator.h"
#include "caddie/model.h"
#include "core/train/gradient_arena.h"

namespace caddie::train {

class CADDIE_API GradientReducer {
 public:
  // Large enough for a GPU's links, small enough that little is left to add when the backward pass ends: the arena puts equal
  // shapes side by side, so that a bucket waits for the first of its layers, and there is one of each shape.
  static constexpr std::int64_t kBucketBytes = 2 << 20;

  // The references must outlive it. Puts a hook on every parameter, which the destructor takes away.
  GradientReducer(GradientArena& arena, const std::vector<Parameter>& parameters, Communicator& communicator,
                  std::int64_t bucket_bytes = kBucketBytes);
  ~GradientReducer();
  GradientReducer(const GradientReducer&) = delete;
  GradientReducer& operator=(const GradientReducer&) = delete;

  // Before the backward pass of this rank's last micro batch: gradients that are added from now on are complete.
  void begin();
  // After it: starts what no hook has started (parameters without a gradient) and waits for all sums.
  void finish();

  std::size_t buckets() const { return buckets_.size(); }
  std::int64_t started_in_backward() const { return started_in_backward_; }  // buckets of the last step

 private:
  struct Bucket {
    at::Tensor gradients;   // a part of the arena
    std::int64_t parameters = 0, missing = 0;
    std::unique_ptr<PendingOperation> sum;
  };
  void ready(std::size_t bucket);
  void start_next();

  Communicator& communicator_;
  std::vector<at::Tensor> parameters_;
  std::vector<Bucket> buckets_;  // in the order in which they are started
  std::size_t next_ = 0;
  bool active_ = false;
  std::int64_t started_in_backward_ = 0;
};

}  // namespace caddie::train
