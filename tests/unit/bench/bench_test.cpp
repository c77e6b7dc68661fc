// Statistics of timings, the fixed shapes, and comparison with a stored result. Speeds are not tested.
#include "tests/support/catch.h"

#include "caddie/error.h"
#include "core/bench/against.h"
#include "core/bench/measure.h"
#include "core/bench/shapes.h"

using namespace caddie;
using namespace caddie::bench;

TEST_CASE("spread: median and quartiles by linear interpolation") {
  const Spread odd = spread({5, 1, 3});
  CHECK(odd.median == 3);
  CHECK(odd.low == 2);
  CHECK(odd.high == 4);
  const Spread even = spread({4, 1, 2, 3});
  CHECK(even.median == Approx(2.5));
  CHECK(even.low == Approx(1.75));
  CHECK(even.high == Approx(3.25));
  CHECK(spread({7}).low == 7);
  CHECK_THROWS_AS(spread({}), Error);
}

TEST_CASE("time_calls counts the calls, one of them not measured") {
  int calls = 0;
  CHECK(time_calls(at::kCPU, 4, [&] { ++calls; }).size() == 4);
  CHECK(calls == 5);
  CHECK(seconds_since_process_start() > 0);
  CHECK(seconds_since_process_start() < 3600);
}

TEST_CASE("shapes: the fixed sizes, and an error that lists them") {
  REQUIRE(shape_names() == std::vector<std::string>{"quick", "small", "reference"});
  CHECK(shape_manifest("reference").find("tokens_per_step: 786432") != std::string::npos);
  try {
    shape_manifest("huge");
    FAIL("an unknown shape was accepted");
  } catch (const Error& error) {
    CHECK(error.kind() == ErrorKind::usage);
    CHECK(std::string(error.what()).find("quick, small, reference") != std::string::npos);
  }
}

namespace {
Json result(double median, double low, double high) {
  return {{"bench", "train"}, {"shape", "quick"}, {"device", "cpu"}, {"precision", "float32"}, {"threads", 2}, {"cpu", "A"},
          {"step_ms_median", median}, {"step_ms_low", low}, {"step_ms_high", high}, {"peak_memory_bytes", 100}};
}
}  // namespace

TEST_CASE("against: ratios, and whether the quartiles touch") {
  const Against slower = compare_with(result(100, 95, 105), result(120, 110, 130));
  REQUIRE(slower.rows.size() == 2);
  CHECK(slower.rows[0].figure == "step_ms_median");
  CHECK(slower.rows[0].ratio == Approx(1.2));
  CHECK(slower.rows[0].apart);
  CHECK(slower.rows[1].figure == "peak_memory_bytes");
  CHECK(slower.notes.empty());
  CHECK_FALSE(compare_with(result(100, 95, 115), result(120, 110, 130)).rows[0].apart);
}

TEST_CASE("against: other machines are said, other parts are not compared") {
  Json other = result(100, 95, 105);
  other["cpu"] = "B";
  CHECK(compare_with(other, result(100, 95, 105)).notes.size() == 1);
  other["precision"] = "bfloat16";
  const Against none = compare_with(Json::array({other}), result(100, 95, 105));
  CHECK(none.rows.empty());
  CHECK(none.notes.size() == 1);
  CHECK_THROWS_AS(compare_with(other, Json{{"x", 1}}), Error);
}
