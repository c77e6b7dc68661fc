// What a person sees while a sweep runs: a table below the log on a terminal, a line for each event in a pipe.
#pragma once

#include <string>
#include <vector>

#include "core/base/clock.h"
#include "registry/sweep/record.h"

namespace caddie::registry {

class LiveTable {
 public:
  explicit LiveTable(const SweepRecord& record);
  void started(const SweepRecord& record, std::size_t job);
  // `printed`: the last lines of a job that failed.
  void ended(const SweepRecord& record, std::size_t job, const std::string& status, const std::string& printed);
  // `waits`: by job, what it waits for. Redrawn twice a second.
  void draw(const SweepRecord& record, const std::vector<std::string>& waits);

 private:
  std::string progress_of(const SweepRecord& record, const SweepJob& job) const;
  Stopwatch since_start_, since_draw_;
  bool drawn_ = false;
};

// "val_bpb 1.2345" of a finished job: the last score that its run has; empty without one.
CADDIE_API std::string headline(const Json& metrics);
// The metrics of a job's run; {} while it has no result.
CADDIE_API Json metrics_of(const SweepRecord& record, const SweepJob& job);

}  // namespace caddie::registry
