// Successive halving, asynchronous: at a quarter and at half of its training a run goes on only if its loss is in the
// better half of the runs of the same seed that have come so far (Li et al. 2020, "A System for Massively Parallel
// Hyperparameter Tuning", eta = 2). The curve is the validation score where the run writes one, else its training loss.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/pipeline/need.h"
#include "registry/sweep/record.h"

namespace caddie::registry {

class CADDIE_API Halving {
 public:
  // `needs` by job, in the order of the plan: jobs that share their training share their fate. `baseline`: a variant
  // that is never stopped.
  Halving(std::vector<std::vector<pipeline::Need>> needs, std::string baseline);

  // Why the job should be stopped, with the numbers; nothing while it is not hopeless.
  std::optional<std::string> operator()(const SweepRecord& record, const SweepJob& job);
  void add(std::vector<pipeline::Need> needs) { needs_.push_back(std::move(needs)); }

 private:
  std::optional<double> loss_at(const SweepRecord& record, std::size_t job, std::size_t rung);
  std::string train_token(std::size_t job) const;

  std::vector<std::vector<pipeline::Need>> needs_;
  std::string baseline_;
  std::map<std::pair<std::size_t, std::size_t>, double> known_;  // (job, rung) -> loss
  std::map<std::string, std::string> stopped_;                   // train token -> why
};

}  // namespace caddie::registry
