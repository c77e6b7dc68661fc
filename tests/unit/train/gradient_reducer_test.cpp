// Buckets of gradients: started while the backward pass runs, complete afterwards, whoever has a gradient.
#include "core/train/gradient_reducer.h"

#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>

#include "tests/support/catch.h"
#include "tests/support/rank_group.h"
#include "tests/support/trainable_model.h"

using namespace caddie;
using namespace caddie::testing;
using namespace caddie::train;

namespace {

at::Tensor loss_of(TrainableModel& model, int rank) {
  const at::Tensor tokens = at::full({2, 3}, rank + 1, at::kLong), targets = at::full({2, 3}, rank + 4, at::kLong);
  model.prepare(true);
  return model.loss(tokens, targets);
}

at::Tensor gradients_of_rank(int rank) {
  TrainableModel model;
  GradientArena arena(model.parameters());
  loss_of(model, rank).backward();
  return arena.all().clone();
}

}  // namespace

TEST_CASE("every bucket is started in the backward pass, and holds the sum of the ranks behind it") {
  const std::int64_t bucket_bytes = GENERATE(std::int64_t{1}, std::int64_t{600}, GradientReducer::kBucketBytes);
  const at::Tensor expected = gradients_of_rank(0).add(gradients_of_rank(1));
  std::vector<at::Tensor> sums(2);
  std::vector<std::int64_t> started(2);
  std::vector<std::size_t> buckets(2);
  RankGroup group(2);
  group.run([&](Communicator& communicator) {
    const auto rank = static_cast<std::size_t>(communicator.rank());
    TrainableModel model;
    GradientArena arena(model.parameters());
    GradientReducer reducer(arena, model.parameters(), communicator, bucket_bytes);
    // A pass before begin() is a rank's own.
    loss_of(model, communicator.rank()).backward();
    const bool own = arena.all().equal(gradients_of_rank(communicator.rank()));
    arena.zero();
    reducer.begin();
    loss_of(model, communicator.rank()).backward();
    reducer.finish();
    sums[rank] = own ? arena.all().clone() : at::Tensor();
    started[rank] = reducer.started_in_backward();
    buckets[rank] = reducer.buckets();
  });
  CHECK(buckets[0] == (bucket_bytes == 1 ? 4u : bucket_bytes == 600 ? 2u : 1u));
  for (std::size_t rank = 0; rank < 2; ++rank) {
    REQUIRE(sums[rank].defined());
    CHECK(sums[rank].sub(expected).abs().max().item<float>() < 1e-7f);
    CHECK(started[rank] == static_cast<std::int64_t>(buckets[rank]));
  }
}

TEST_CASE("parameters without a gradient do not keep their bucket back") {
  std::vector<float> sums(2);
  std::vector<std::int64_t> started(2);
  RankGroup group(2);
  group.run([&](Communicator& communicator) {
    const auto rank = static_cast<std::size_t>(communicator.rank());
    TrainableModel model;
    GradientArena arena(model.parameters());
    GradientReducer reducer(arena, model.parameters(), communicator, 1);
    reducer.begin();
    model.parameters()[3].tensor.sum().backward();  // the gains alone: the last of the model, so the first bucket
    reducer.finish();
    sums[rank] = arena.all().sum().item<float>();
    started[rank] = reducer.started_in_backward();
  });
  CHECK(sums == std::vector<float>{16, 16});
  CHECK(started == std::vector<std::int64_t>{1, 1});
}
