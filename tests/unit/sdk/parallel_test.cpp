#include "caddie/parallel.h"

#include <atomic>
#include <stdexcept>
#include <string>
#include <vector>

#include "tests/support/catch.h"

using namespace caddie;

TEST_CASE("every task runs once, on any number of threads") {
  for (const int threads : {-1, 0, 1, 3, 16}) {
    std::vector<std::atomic<int>> calls(7);
    in_parallel(calls.size(), threads, [&](std::size_t i) { ++calls[i]; });
    for (const auto& count : calls) CHECK(count == 1);
  }
  in_parallel(0, 4, [](std::size_t) { FAIL("there is no task"); });
}

TEST_CASE("the first failing task by number is the one that is told, after all have run") {
  for (const int threads : {1, 4}) {
    std::atomic<int> ran{0};
    const auto failing = [&](std::size_t i) {
      ++ran;
      if (i == 2 || i == 5) throw std::runtime_error("task " + std::to_string(i));
    };
    CHECK_THROWS_WITH(in_parallel(8, threads, failing), "task 2");
    CHECK(ran == 8);
  }
}
