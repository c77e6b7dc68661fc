// Shared by the sweep commands: from a sweep's file or folder to a runner's settings.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "registry/sweep/create.h"
#include "registry/sweep/plan.h"
#include "registry/sweep/runner.h"
#include "tools/cli/session.h"

namespace caddie::cli {

struct SweepArguments {
  std::string file;                       // a sweep manifest
  std::vector<std::string> words;         // overrides, or [SWEEP] [JOB...]
  std::string seeds, until, baseline, launcher = "local";
  std::int64_t jobs = 0, threads = 0, gpus = 0, retries = 0, max_failures = 0, max_seeds = 0;
  double hours = 0;
  bool fail_fast = false, fresh = false, print_script = false, until_significant = false, halving = false;
  std::vector<std::string> slurm;         // KEY=VALUE
};

// Keys and, if asked for, predictions, of one manifest after another.
// `ranks`: a run's, which the keys depend on. `threads`: a run's, for predictions; 0: as this process.
registry::Forecaster forecaster(const std::string& cache, std::shared_ptr<const Catalogue> catalogue, bool predict,
                                int ranks, int threads = 0);
// Ranks of a run with so many GPUs; 0: not said.
inline int ranks_of(std::int64_t gpus) { return gpus > 1 ? static_cast<int>(gpus) : 1; }

// How many jobs at a time with how many threads, on what.
struct Placement {
  registry::SlotSettings slots;
  int jobs = 1;
};
Placement placement(const SweepArguments& arguments, const std::vector<registry::Forecast>& forecasts);

// A sweep's file read with its overrides and --seeds, and planned.
struct PlannedSweep {
  Sweep sweep;
  registry::SweepPlan plan;
  std::vector<Manifest> manifests;
};
PlannedSweep plan_file(const Globals& globals, const SweepArguments& arguments, bool predict);

// Runs what is left of a sweep on this machine, prints the result, returns the exit code. `only`: these jobs.
int run_folder(const Globals& globals, const SweepArguments& arguments, const registry::SweepFolder& folder, bool retry,
               const std::vector<std::string>& only);
// The same without the result. `lock`: the runner's name; all but "runner" are tasks of a batch system.
registry::RunnerOutcome run_jobs(const Globals& globals, const SweepArguments& arguments,
                                 const registry::SweepFolder& folder, bool retry, const std::vector<std::string>& only,
                                 const std::string& lock);
// Submits what is left of a sweep to Slurm.
int submit_folder(const Globals& globals, const SweepArguments& arguments, const registry::SweepFolder& folder,
                  bool retry, const std::vector<std::string>& only);
// One task of such an array.
int task_command(const Globals& globals, const SweepArguments& arguments, const std::string& folder,
                 std::int64_t place);
// Prints the result of a sweep and what to try next.
int print_sweep(const Globals& globals, const registry::SweepFolder& folder);

// [SWEEP] [JOB...]: the first word is a sweep if there is one of that name, otherwise the latest sweep is meant.
registry::SweepFolder take_sweep(const Globals& globals, std::vector<std::string>& words);
// Throws Error(usage) for a job that the sweep does not have.
void check_jobs(const registry::SweepRecord& record, const std::vector<std::string>& jobs);
// The program's own path.
std::string own_program();

}  // namespace caddie::cli
