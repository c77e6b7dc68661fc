// The CPU ranks' communicator: values, the same bits on all ranks, and a store that does not grow.
#include "core/comm/store.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>

#include <mutex>

#include "caddie/services.h"
#include "tests/support/catch.h"
#include "tests/support/thread_group.h"

using namespace caddie;
using namespace caddie::testing;

namespace {

at::Tensor noise(std::int64_t count, int rank, at::ScalarType type) {
  Random random(5, "rank " + std::to_string(rank));
  at::Tensor value = at::empty({count}, at::kFloat);
  for (std::int64_t i = 0; i < count; ++i) value.mutable_data_ptr<float>()[i] = static_cast<float>(random.normal());
  return value.to(type);
}

// What a sum in rank order gives, rounded once.
at::Tensor expected_sum(std::int64_t count, int size, at::ScalarType type) {
  const bool half = type == at::kBFloat16 || type == at::kHalf;
  at::Tensor sum = noise(count, 0, type).to(half ? at::kFloat : type);
  for (int rank = 1; rank < size; ++rank) sum.add_(noise(count, rank, type));
  return sum.to(type);
}

}  // namespace

TEST_CASE("sums are those in rank order, bit for bit, on every rank and on both paths") {
  const int size = GENERATE(2, 3);
  const auto path = GENERATE(StoreCommunicator::Path::best, StoreCommunicator::Path::store_only);
  std::vector<int> right(static_cast<std::size_t>(size), 0);
  rethrow_first(run_groups(size, [&](Group& group) {
    StoreCommunicator ranks(group, path);
    CADDIE_CHECK(ranks.shares_memory() == (path == StoreCommunicator::Path::best), ErrorKind::failed, "another path than asked for");
    bool good = true;
    // One element, one chunk in parts, several chunks and a rest.
    for (const std::int64_t count : {std::int64_t{1}, std::int64_t{40000}, std::int64_t{700001}})
      for (const auto type : {at::kFloat, at::kDouble, at::kBFloat16, at::kLong}) {
        if (count > 40000 && type != at::kFloat) continue;
        at::Tensor value = noise(count, group.rank(), type);
        ranks.all_reduce_sum(value);
        good = good && value.equal(expected_sum(count, size, type));
      }
    // Memory that is not contiguous is written back in place.
    at::Tensor whole = at::zeros({4, 3}, at::kFloat), column = whole.select(1, 1);
    column.fill_(static_cast<float>(group.rank() + 1));
    ranks.all_reduce_sum(column);
    const float all = static_cast<float>(size * (size + 1) / 2);
    good = good && whole.select(1, 1).equal(at::full({4}, all)) && whole.sum().item<float>() == 4 * all;
    right[static_cast<std::size_t>(group.rank())] = good;
  }));
  CHECK(right == std::vector<int>(static_cast<std::size_t>(size), 1));
}

TEST_CASE("broadcast and gather, and types that cannot be added") {
  const auto path = GENERATE(StoreCommunicator::Path::best, StoreCommunicator::Path::store_only);
  std::vector<int> right(3, 0);
  rethrow_first(run_groups(3, [&](Group& group) {
    StoreCommunicator ranks(group, path);
    bool good = true;
    for (const std::int64_t count : {std::int64_t{3}, std::int64_t{600000}}) {
      at::Tensor value = noise(count, group.rank(), at::kFloat);
      ranks.broadcast(value, 2);
      good = good && value.equal(noise(count, 2, at::kFloat));
      at::Tensor rows = at::zeros({3, count}, at::kFloat);
      rows.select(0, group.rank()).copy_(noise(count, group.rank(), at::kFloat));
      ranks.all_gather(rows);
      for (int rank = 0; rank < 3; ++rank) good = good && rows.select(0, rank).equal(noise(count, rank, at::kFloat));
    }
    at::Tensor flags = at::zeros({2}, at::kBool);
    try {
      ranks.all_reduce_sum(flags);
      good = false;
    } catch (const Error&) {
    }
    ranks.barrier();
    right[static_cast<std::size_t>(group.rank())] = good;
  }));
  CHECK(right == std::vector<int>{1, 1, 1});
}

TEST_CASE("the store keeps the values of the last rounds only") {
  std::int64_t early = 0, late = 0;
  rethrow_first(run_groups(2, [&](Group& group) {
    StoreCommunicator ranks(group, StoreCommunicator::Path::store_only);
    at::Tensor value = at::zeros({10}, at::kFloat);
    for (int round = 0; round < 200; ++round) {
      if (round % 3 == 0) ranks.all_reduce_sum(value);
      ranks.broadcast(value, round % 2);
      if (group.rank() == 0 && round == 20) early = group.store().key_count();
    }
    ranks.barrier();
    if (group.rank() == 0) late = group.store().key_count();
  }));
  CHECK(late <= early + 8);
}
