// What the evaluation's tests share: a random text, and ranks that are threads.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

#include "caddie/services.h"
#include "core/eval/score.h"
#include "tests/support/rank_group.h"

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

// run_ranks(3, body) calls body(communicator) on three threads at once and throws what the first failing rank threw.
template <class Body>
void run_ranks(int size, const Body& body) {
  testing::RankGroup(size).run(body);
}

}  // namespace caddie::tests
