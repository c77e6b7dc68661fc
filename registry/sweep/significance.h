// More seeds until it is decided: after all jobs are done, variants whose difference from the baseline could still be
// nothing get one more seed each, and so does the baseline, up to a cap.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/config/manifest.h"
#include "registry/sweep/record.h"

namespace caddie::registry {

struct SignificanceSettings {
  std::string baseline;     // a variant
  std::string metric;       // empty: the last score that all runs have
  double confidence = 0.99; // of the interval: looking after each seed takes more than one look's 95 %
  int max_seeds = 10;
};

// One variant against the baseline over the seeds that both have.
struct Standing {
  std::string variant;
  std::size_t seeds = 0;
  double difference = 0;
  std::optional<double> low, high;
  bool decided = false;  // the interval excludes 0, or is the point 0: there is no difference
};
CADDIE_API std::vector<Standing> standings(const SweepRecord& record, const SignificanceSettings& settings);

// The jobs of one more seed for the baseline and every variant that is not decided; none if all are, or the cap is
// reached.
struct MoreJobs {
  std::vector<SweepJob> jobs;
  std::vector<Manifest> manifests;
  std::string text;  // what is undecided, for people
};
CADDIE_API MoreJobs one_more_seed(const SweepRecord& record, const SignificanceSettings& settings);

}  // namespace caddie::registry
