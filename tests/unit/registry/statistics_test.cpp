// The statistics against SciPy: values made by make_statistics.py, stored in statistics_values.json.
#include "registry/compare/statistics.h"

#include <algorithm>
#include <cmath>

#include "caddie/error.h"
#include "core/base/files.h"
#include "tests/support/catch.h"

using namespace caddie;
using namespace caddie::registry;

namespace {

const Json& stored() {
  static const Json values = read_json(CADDIE_SOURCE_DIR "/tests/unit/registry/statistics_values.json");
  return values;
}

void check_close(double found, double expected) {
  CAPTURE(found, expected);
  CHECK(std::abs(found - expected) <= 1e-9 * std::max(std::abs(expected), 1e-300));
}

void check_test(const TTest& test, const Json& expected) {
  REQUIRE(test.p.has_value());
  check_close(*test.p, expected.at("p"));
  check_close(test.difference / *test.error, expected.at("t"));
  check_close(*test.freedom, expected.at("freedom"));
  // An end of the interval may be near 0: what counts is the interval's width.
  const double width = expected.at("high").get<double>() - expected.at("low").get<double>();
  CHECK(std::abs(*test.low - expected.at("low").get<double>()) <= 1e-9 * width);
  CHECK(std::abs(*test.high - expected.at("high").get<double>()) <= 1e-9 * width);
  check_close(*test.p_below(-0.002), expected.at("p_below"));
}

}  // namespace

TEST_CASE("t tests agree with SciPy to 1e-9") {
  int paired = 0;
  for (const Json& item : stored().at("cases")) {
    const auto baseline = item.at("baseline").get<std::vector<double>>();
    const auto candidate = item.at("candidate").get<std::vector<double>>();
    const double confidence = item.at("confidence");
    check_test(welch_t(baseline, candidate, confidence), item.at("welch"));
    if (!item.contains("paired")) continue;
    ++paired;
    check_test(paired_t(baseline, candidate, confidence), item.at("paired"));
  }
  CHECK(stored().at("cases").size() == 40);
  CHECK(paired >= 20);
}

TEST_CASE("powers agree with SciPy's noncentral t to 1e-9") {
  for (const Json& item : stored().at("powers")) {
    CAPTURE(item.dump());
    const double found = power_of(item.at("difference"), item.at("deviation"), item.at("n"), item.at("alpha"),
                                  item.at("paired"), item.at("one_sided"));
    CHECK(std::abs(found - item.at("power").get<double>()) <= 1e-9);
  }
}

TEST_CASE("Holm's correction agrees, whatever is absent") {
  const auto p = stored().at("holm").at("p").get<std::vector<double>>();
  const auto expected = stored().at("holm").at("corrected").get<std::vector<double>>();
  std::vector<std::optional<double>> with_gaps;
  for (const double value : p) {
    with_gaps.emplace_back(value);
    with_gaps.emplace_back(std::nullopt);
  }
  const auto corrected = holm(with_gaps);
  for (std::size_t i = 0; i < p.size(); ++i) {
    check_close(*corrected[2 * i], expected[i]);
    CHECK_FALSE(corrected[2 * i + 1].has_value());
  }
  CHECK(holm({}).empty());
}

TEST_CASE("one seed has no interval, and no spread has no doubt") {
  const std::vector<double> one = {1.1}, other = {1.0}, three = {1.1, 1.2, 1.3}, shifted = {1.0, 1.1, 1.2};
  for (const TTest& test : {paired_t(one, other), welch_t(one, other), welch_t(three, other), welch_t(one, three)}) {
    CHECK_FALSE(test.p.has_value());
    CHECK_FALSE(test.low.has_value());
    CHECK_FALSE(test.p_below(0).has_value());
  }
  CHECK(paired_t(one, other).difference == Approx(-0.1));
  const TTest same = paired_t(three, three);
  CHECK(*same.p == 1.0);
  CHECK(*same.low == 0.0);
  CHECK(*same.high == 0.0);
  const std::vector<double> constant = {2.0, 2.0}, lower = {1.5, 1.5};
  CHECK(*welch_t(constant, lower).p == 0.0);
  CHECK(*welch_t(constant, lower).p_below(-0.4) == 0.0);
  CHECK(*welch_t(constant, lower).p_below(-0.6) == 1.0);
  CHECK_THROWS_AS(paired_t(three, one), Error);
  CHECK_THROWS_AS(paired_t(three, shifted, 1.0), Error);
  CHECK_THROWS_AS(welch_t({}, one), Error);
}

TEST_CASE("required seeds are the fewest that reach the power") {
  const bool paired = GENERATE(true, false);
  for (const double difference : {0.0002, 0.0005, 0.001, 0.003, -0.01}) {
    const auto n = required_seeds(difference, 0.0009, 0.01, 0.8, paired);
    REQUIRE(n.has_value());
    CAPTURE(difference, *n);
    CHECK(power_of(difference, 0.0009, *n, 0.01, paired, false) >= 0.8);
    if (*n > 2) CHECK(power_of(difference, 0.0009, *n - 1, 0.01, paired, false) < 0.8);
  }
  CHECK_FALSE(required_seeds(0, 0.0009, 0.01, 0.8, paired).has_value());
  CHECK_FALSE(required_seeds(1e-9, 1, 0.01, 0.8, paired).has_value());
  CHECK(required_seeds(0.1, 0, 0.01, 0.8, paired) == 2);
  CHECK(required_seeds(100, 0.001, 0.01, 0.8, paired) == 2);
}
