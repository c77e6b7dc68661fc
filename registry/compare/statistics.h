// The statistics of seed studies: Student's t tests, paired and Welch's, intervals, Holm's correction, and how many
// seeds a difference takes. Numbers in, numbers out; what is compared with what is decided in compare.h.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "caddie/export.h"

namespace caddie::registry {

// Two-sided test of a candidate against a baseline. Nothing is NaN: what cannot be computed (one seed) is absent.
struct CADDIE_API TTest {
  bool paired = false;
  std::size_t n_baseline = 0, n_candidate = 0;
  double difference = 0;            // mean of the candidate minus mean of the baseline
  std::optional<double> error;      // standard error of the difference
  std::optional<double> freedom;    // degrees of freedom (Welch-Satterthwaite: not a whole number)
  std::optional<double> low, high;  // confidence interval of the difference
  std::optional<double> p;          // two-sided
  double confidence = 0.95;

  // One-sided p of H0 "difference >= bound" against H1 "difference < bound": small if the candidate is lower than the
  // baseline by more than -bound. The challenge's rule is bound = -0.005 nats.
  std::optional<double> p_below(double bound) const;
};

// Equal lengths, partners at equal positions. Where all differences are equal there is no spread: the interval is that
// one value, and p is 0, or 1 for the value 0. Throws Error(usage) for unequal lengths, none, or a bad confidence.
CADDIE_API TTest paired_t(std::span<const double> baseline, std::span<const double> candidate,
                          double confidence = 0.95);
// Unequal variances. At least one value each; with one value on a side there is no interval.
CADDIE_API TTest welch_t(std::span<const double> baseline, std::span<const double> candidate, double confidence = 0.95);

// Holm's step-down correction of the p values of one table; absent ones stay absent and do not count.
CADDIE_API std::vector<std::optional<double>> holm(std::span<const std::optional<double>> p);

CADDIE_API double mean(std::span<const double> values);
// Of a sample (n - 1); absent for fewer than two values.
CADDIE_API std::optional<double> standard_deviation(std::span<const double> values);

// Seeds (a side, or pairs) at which a true `difference` is found by a t test at level `alpha` with probability `power`.
// `deviation`: of the differences if `paired`, else of one side. `one_sided` halves the work where only "lower" counts.
// Absent: more than `most`, or the difference is 0. Two if there is no spread.
CADDIE_API std::optional<std::int64_t> required_seeds(double difference, double deviation, double alpha = 0.01,
                                                      double power = 0.8, bool paired = true, bool one_sided = false,
                                                      std::int64_t most = 10000);
// Power of that test with n seeds.
CADDIE_API double power_of(double difference, double deviation, std::int64_t n, double alpha, bool paired,
                           bool one_sided);

}  // namespace caddie::registry
