#include "core/eval/windows.h"

#include "caddie/error.h"
#include "tests/support/catch.h"

using namespace caddie;
using namespace caddie::eval;

TEST_CASE("sliding windows, one by one") {
  CHECK((sliding_windows(20, 8, 4) ==
        std::vector<Window>{{0, 0, 8}, {4, 8, 12}, {8, 12, 16}, {12, 16, 20}}));
  // A stride that divides nothing leaves the end unscored.
  CHECK((sliding_windows(20, 8, 5) == std::vector<Window>{{0, 0, 8}, {5, 8, 13}, {10, 13, 18}}));
  CHECK((sliding_windows(16, 8, 8) == std::vector<Window>{{0, 0, 8}, {8, 8, 16}}));
  CHECK((sliding_windows(8, 8, 3) == std::vector<Window>{{0, 0, 8}}));
  CHECK(sliding_windows(7, 8, 3).empty());
  CHECK(sliding_windows(0, 8, 8).empty());
}

TEST_CASE("scored intervals join without a gap, for every stride") {
  for (std::int64_t stride = 1; stride <= 8; ++stride) {
    std::int64_t end = 0;
    for (const auto& window : sliding_windows(61, 8, stride)) {
      CHECK(window.from == end);
      CHECK(window.from >= window.start);
      CHECK(window.to == window.start + 8);
      end = window.to;
    }
    CHECK(end <= 61);
    CHECK(61 - end < stride);
  }
}

TEST_CASE("a stride outside the sequence is refused") {
  CHECK_THROWS_AS(sliding_windows(20, 8, 0), Error);
  CHECK_THROWS_AS(sliding_windows(20, 8, 9), Error);
}

TEST_CASE("targets that count: whole sequences") {
  CHECK(usable_targets(20, 8) == 16);
  CHECK(usable_targets(16, 8) == 16);
  CHECK(usable_targets(7, 8) == 0);
  CHECK(usable_targets(-1, 8) == 0);
}

TEST_CASE("a window belongs to the chunk in which its scored part starts") {
  const auto windows = sliding_windows(20, 8, 4);  // from: 0, 8, 12, 16
  const auto check = [&](std::int64_t chunk, const std::vector<std::int64_t>& counts) {
    const auto chunks = assign_chunks(windows, chunk, chunk_count(20, chunk));
    REQUIRE(chunks.size() == counts.size());
    std::int64_t first = 0;
    for (std::size_t i = 0; i < counts.size(); ++i) {
      CHECK(chunks[i].first == first);
      CHECK(chunks[i].count == counts[i]);
      first += counts[i];
    }
  };
  check(8, {1, 2, 1});
  check(5, {1, 1, 1, 1});
  check(4, {1, 0, 1, 1, 1});  // a chunk without windows
  check(100, {4});
  // At most the last: a window that starts beyond the chunks that exist.
  const auto few = assign_chunks(windows, 8, 2);
  CHECK(few[1].count == 3);
}
