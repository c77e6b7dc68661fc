#include "core/train/gradient_reducer.h"

#include <torch/csrc/autograd/function_hook.h>
#include <torch/csrc/autograd/variable.h>

#include <algorithm>
#include <functional>
#include <numeric>
#include <utility>

#include "caddie/error.h"

namespace caddie::train {
namespace {

class Hook final : public torch::autograd::PostAccumulateGradHook {
 public:
  explicit Hook(std::function<void()> added) : added_(std::move(added)) {}
  void operator()(const at::Tensor&) override { added_(); }

 private:
  std::function<void()> added_;
};

}  // namespace

GradientReducer::GradientReducer(GradientArena& arena, const std::vector<Parameter>& parameters, Communicator& communicator,
                                 std::int64_t bucket_bytes)
    : communicator_(communicator) {
  const auto begin_of = [&](std::size_t i) { return arena.gradient(i).storage_offset(); };
  std::vector<std::size_t> order(parameters.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return begin_of(a) < begin_of(b); });

  // Neighbours in the arena, up to the size; the first parameter of the model in a bucket is the last to be ready.
  struct Part {
    std::vector<std::size_t> members;
    std::size_t first;
  };
  std::vector<Part> parts;
  std::int64_t bytes = bucket_bytes;
  for (std::size_t i : order) {
    if (bytes >= bucket_bytes) {
      parts.push_back({{}, i});
      bytes = 0;
    }
    parts.back().members.push_back(i);
    parts.back().first = std::min(parts.back().first, i);
    bytes += static_cast<std::int64_t>(arena.gradient(i).nbytes());
  }
  std::vector<std::int64_t> starts;
  for (const Part& part : parts) starts.push_back(begin_of(part.members.front()));
  starts.push_back(arena.all().numel());
  std::vector<std::size_t> turns(parts.size());
  std::iota(turns.begin(), turns.end(), std::size_t{0});
  std::stable_sort(turns.begin(), turns.end(), [&](std::size_t a, std::size_t b) { return parts[a].first > parts[b].first; });
  for (std::size_t turn = 0; turn < turns.size(); ++turn) {
    const std::size_t part = turns[turn];
    const auto count = static_cast<std::int64_t>(parts[part].members.size());
    buckets_.push_back({arena.all().narrow(0, starts[part], starts[part + 1] - starts[part]), count, count, nullptr});
    for (std::size_t i : parts[part].members) {
      parameters_.push_back(parameters[i].tensor);
      torch::autograd::impl::set_post_acc_grad_hooks(parameters_.back(), std::make_unique<Hook>([this, turn] { ready(turn); }));
    }
  }
}

GradientReducer::~GradientReducer() {
  for (const at::Tensor& parameter : parameters_) torch::autograd::impl::set_post_acc_grad_hooks(parameter, nullptr);
}

void GradientReducer::begin() {
  for (Bucket& bucket : buckets_) {
    bucket.missing = bucket.parameters;
    bucket.sum.reset();
  }
  next_ = 0;
  active_ = true;
}

// On the thread of the backward pass, and on its stream.
void GradientReducer::ready(std::size_t bucket) {
  if (!active_) return;
  --buckets_[bucket].missing;
  while (next_ < buckets_.size() && buckets_[next_].missing <= 0) start_next();
}

void GradientReducer::start_next() {
  Bucket& bucket = buckets_[next_++];
  bucket.sum = communicator_.start_all_reduce_sum(bucket.gradients);
}

void GradientReducer::finish() {
  CADDIE_ASSERT(active_);
  active_ = false;
  started_in_backward_ = static_cast<std::int64_t>(next_);
  while (next_ < buckets_.size()) start_next();
  for (Bucket& bucket : buckets_)
    if (bucket.sum) bucket.sum->wait();
}

}  // namespace caddie::train
