// Runs the jobs of a sweep's folder on this machine: one process a job, in slots, each shared stage computed once. It
// can be killed at any moment: what is decided is on the disk, processes that still run hold their locks, and the next
// runner of the same folder waits for them and goes on.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "core/pipeline/need.h"
#include "registry/sweep/folder.h"
#include "registry/sweep/slots.h"

namespace caddie::registry {

struct RunnerSettings {
  // The command of a job: its run's id, and how many GPUs it has (0: a CPU).
  std::function<std::vector<std::string>(const SweepJob& job, const std::string& run, int gpus)> command;
  SlotSettings slots;
  int jobs = 1;               // at most so many at a time
  int retries = 0;            // after a failure; a job that somebody killed is started again at least twice
  bool fail_fast = false;     // the first failure stops all
  int max_failures = 0;       // so many failures start no more jobs; 0: no limit
  bool retry_failed = false;  // failed and cancelled jobs start again
  std::vector<std::string> only;  // these jobs alone; empty: all
  std::string lock = "runner";    // one runner of this name at a time; tasks of a batch system have one for each job
  bool lease = true;              // false: the batch system has given the place
  double poll_seconds = 0.03;
};

// What the runner knows about a job beside its state.
struct RunnerJob {
  std::vector<pipeline::Need> needs;
  bool exclusive = false;
  bool gpu = false;
};

struct RunnerHooks {
  // Asked now and then for jobs that run or wait: a reason to stop it early or not to start it, or nothing.
  std::function<std::optional<std::string>(const SweepRecord& record, const SweepJob& job)> hopeless;
  // Asked when nothing is left to do: true if it has put more jobs into the plan. `jobs` gets one entry for each.
  std::function<bool(const SweepRecord& record, std::vector<RunnerJob>& jobs)> more;
};

struct RunnerOutcome {
  bool interrupted = false;  // stopped on request, or jobs are left that were interrupted
  int signal = 0;            // of the second request: stopped at once
  bool limit_near = false;   // stopped because the batch system's time limit came near (SIGUSR2)
};

// `jobs` in the order of the plan. Throws Error(failed) if another process runs this sweep.
CADDIE_API RunnerOutcome run_sweep(const SweepFolder& folder, const std::vector<RunnerJob>& jobs,
                                   const RunnerSettings& settings, const RunnerHooks& hooks = {});

}  // namespace caddie::registry
