#include "core/comm/solo.h"

#include <ATen/ops/full.h>

#include "caddie/error.h"
#include "tests/support/catch.h"
#include "tests/support/rank_group.h"

using namespace caddie;

TEST_CASE("one rank keeps what it has") {
  SoloCommunicator solo;
  at::Tensor value = at::full({2}, 3.0f, at::kFloat);
  solo.all_reduce_sum(value);
  solo.broadcast(value, 0);
  solo.barrier();
  CHECK(value.sum().item<float>() == 6);
  CHECK(solo.size() == 1);
  CHECK_THROWS_AS(solo.broadcast(value, 1), Error);
}

TEST_CASE("the tests' group of ranks adds and broadcasts") {
  testing::RankGroup group(3);
  std::vector<float> sums(3), sent(3), gathered(3);
  group.run([&](Communicator& communicator) {
    const auto rank = static_cast<std::size_t>(communicator.rank());
    at::Tensor value = at::full({1}, static_cast<float>(rank + 1), at::kFloat);
    communicator.all_reduce_sum(value);
    sums[rank] = value.item<float>();
    value.fill_(static_cast<float>(rank));
    communicator.broadcast(value, 2);
    sent[rank] = value.item<float>();
    at::Tensor rows = at::full({3, 2}, -1.0f, at::kFloat);
    rows.select(0, communicator.rank()).fill_(static_cast<float>(10 * rank));
    communicator.all_gather(rows);
    gathered[rank] = rows.sum().item<float>();
  });
  CHECK(gathered == std::vector<float>{60, 60, 60});
  CHECK(sums == std::vector<float>{6, 6, 6});
  CHECK(sent == std::vector<float>{2, 2, 2});
}
