#include "registry/compare/statistics.h"

#include <algorithm>
#include <boost/math/distributions/non_central_t.hpp>
#include <boost/math/distributions/students_t.hpp>
#include <cmath>
#include <numeric>

#include "caddie/error.h"

namespace caddie::registry {
namespace {

using boost::math::cdf;
using boost::math::complement;
using boost::math::quantile;
using Student = boost::math::students_t;

void check_confidence(double confidence) {
  if (!(confidence > 0 && confidence < 1))
    throw Error(ErrorKind::usage, concat("the confidence is ", confidence), "accepted: between 0 and 1, 0.95 for 95 %");
}

void check_values(std::span<const double> values, const char* side) {
  CADDIE_CHECK(!values.empty(), ErrorKind::usage, "there is no value of the ", side);
  for (const double value : values)
    CADDIE_CHECK(std::isfinite(value), ErrorKind::data, "a value of the ", side, " is not a finite number");
}

// Fills interval and p from difference, error and freedom.
void conclude(TTest& test) {
  const double error = *test.error;
  if (error == 0) {
    test.low = test.high = test.difference;
    test.p = test.difference == 0 ? 1.0 : 0.0;
    return;
  }
  const Student student(*test.freedom);
  const double half = quantile(complement(student, (1 - test.confidence) / 2)) * error;
  test.low = test.difference - half;
  test.high = test.difference + half;
  test.p = std::min(1.0, 2 * cdf(complement(student, std::abs(test.difference) / error)));
}

// Sum of squared distances from the mean, second pass corrected.
double squares(std::span<const double> values) {
  const double center = mean(values);
  double sum = 0, drift = 0;
  for (const double value : values) {
    sum += (value - center) * (value - center);
    drift += value - center;
  }
  return std::max(0.0, sum - drift * drift / static_cast<double>(values.size()));
}

}  // namespace

double mean(std::span<const double> values) {
  CADDIE_CHECK(!values.empty(), ErrorKind::usage, "the mean of no values");
  // Around the first value: scores differ in their fifth digit, and the sum should not lose the tenth.
  const double origin = values.front();
  double sum = 0;
  for (const double value : values) sum += value - origin;
  return origin + sum / static_cast<double>(values.size());
}

std::optional<double> standard_deviation(std::span<const double> values) {
  if (values.size() < 2) return std::nullopt;
  return std::sqrt(squares(values) / static_cast<double>(values.size() - 1));
}

std::optional<double> TTest::p_below(double bound) const {
  if (!error) return std::nullopt;
  if (*error == 0) return difference < bound ? 0.0 : 1.0;
  return cdf(Student(*freedom), (difference - bound) / *error);
}

TTest paired_t(std::span<const double> baseline, std::span<const double> candidate, double confidence) {
  check_confidence(confidence);
  check_values(baseline, "baseline");
  check_values(candidate, "candidate");
  CADDIE_CHECK(baseline.size() == candidate.size(), ErrorKind::usage, "a paired test of ", baseline.size(), " and ",
               candidate.size(), " values");
  std::vector<double> differences(baseline.size());
  for (std::size_t i = 0; i < differences.size(); ++i) differences[i] = candidate[i] - baseline[i];
  const auto n = static_cast<double>(differences.size());
  TTest test;
  test.paired = true;
  test.n_baseline = test.n_candidate = differences.size();
  test.difference = mean(differences);
  test.confidence = confidence;
  if (differences.size() < 2) return test;
  const bool equal =
      std::all_of(differences.begin(), differences.end(), [&](double d) { return d == differences.front(); });
  test.error = equal ? 0.0 : std::sqrt(squares(differences) / (n - 1) / n);
  test.freedom = n - 1;
  conclude(test);
  return test;
}

TTest welch_t(std::span<const double> baseline, std::span<const double> candidate, double confidence) {
  check_confidence(confidence);
  check_values(baseline, "baseline");
  check_values(candidate, "candidate");
  TTest test;
  test.n_baseline = baseline.size();
  test.n_candidate = candidate.size();
  test.difference = mean(candidate) - mean(baseline);
  test.confidence = confidence;
  if (baseline.size() < 2 || candidate.size() < 2) return test;
  const auto part = [](std::span<const double> values) {
    const auto n = static_cast<double>(values.size());
    return squares(values) / (n - 1) / n;
  };
  const double a = part(baseline), b = part(candidate);
  test.error = std::sqrt(a + b);
  test.freedom =
      *test.error == 0
          ? static_cast<double>(baseline.size() + candidate.size() - 2)
          : (a + b) * (a + b) /
                (a * a / static_cast<double>(baseline.size() - 1) + b * b / static_cast<double>(candidate.size() - 1));
  conclude(test);
  return test;
}

std::vector<std::optional<double>> holm(std::span<const std::optional<double>> p) {
  std::vector<std::size_t> order;
  for (std::size_t i = 0; i < p.size(); ++i)
    if (p[i]) order.push_back(i);
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return *p[a] < *p[b]; });
  std::vector<std::optional<double>> corrected(p.size());
  double largest = 0;
  for (std::size_t rank = 0; rank < order.size(); ++rank) {
    largest = std::max(largest, std::min(1.0, static_cast<double>(order.size() - rank) * *p[order[rank]]));
    corrected[order[rank]] = largest;
  }
  return corrected;
}

double power_of(double difference, double deviation, std::int64_t n, double alpha, bool paired, bool one_sided) {
  if (n < 2 || difference == 0) return 0;
  if (deviation <= 0) return 1;
  const auto seeds = static_cast<double>(n);
  const double freedom = paired ? seeds - 1 : 2 * seeds - 2;
  const double shift = std::abs(difference) / deviation * std::sqrt(paired ? seeds : seeds / 2);
  if (shift > 35) return 1;  // the series below stops converging where nothing is left to compute
  const double bound = quantile(complement(Student(freedom), one_sided ? alpha : alpha / 2));
  const boost::math::non_central_t shifted(freedom, shift);
  const double found = cdf(complement(shifted, bound));
  return one_sided ? found : found + cdf(shifted, -bound);
}

std::optional<std::int64_t> required_seeds(double difference, double deviation, double alpha, double power, bool paired,
                                           bool one_sided, std::int64_t most) {
  CADDIE_CHECK(alpha > 0 && alpha < 1, ErrorKind::usage, "the level is ", alpha, "; accepted: between 0 and 1");
  CADDIE_CHECK(power > 0 && power < 1, ErrorKind::usage, "the power is ", power, "; accepted: between 0 and 1");
  if (difference == 0 || !std::isfinite(difference) || !std::isfinite(deviation)) return std::nullopt;
  const auto enough = [&](std::int64_t n) {
    return power_of(difference, deviation, n, alpha, paired, one_sided) >= power;
  };
  std::int64_t low = 1, high = 2;  // low is too few
  while (high < most && !enough(high)) {
    low = high;
    high = std::min(most, 2 * high);
  }
  if (!enough(high)) return std::nullopt;
  while (high - low > 1) {
    const std::int64_t middle = low + (high - low) / 2;
    (enough(middle) ? high : low) = middle;
  }
  return high;
}

}  // namespace caddie::registry
