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

TEST_CASE("chunks of documents: none is longer than asked for, and none reaches over a document's end") {
  const std::vector<std::int64_t> documents = {0, 5, 5, 25, 47, 60, 99};
  CHECK(document_chunks(60, 10, documents) == std::vector<std::int64_t>{0, 5, 15, 25, 35, 45, 47, 57});
  CHECK(document_chunks(7, 10, {}) == std::vector<std::int64_t>{0});
  CHECK(document_chunks(0, 10, documents).empty());
  CHECK_THROWS_AS(document_chunks(7, 0, {}), caddie::Error);
}

TEST_CASE("windows belong to the chunk in which their scored part begins, wherever chunks begin") {
  const auto windows = sliding_windows(40, 8, 4);  // scored from 0 8 12 16 ... 36
  const std::vector<std::int64_t> starts = {0, 9, 11, 30};
  const auto chunks = assign_chunks(windows, starts);
  REQUIRE(chunks.size() == 4);
  CHECK(chunks[0].count == 2);
  CHECK(chunks[1].count == 0);
  CHECK(chunks[2].first == 2);
  CHECK(chunks[2].count == 5);  // 12 16 20 24 28
  CHECK(chunks[3].count == 2);  // 32 36
}
