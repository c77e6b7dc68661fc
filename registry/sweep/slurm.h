// Slurm as the engine of a sweep beyond one machine: an array with one task a job. Nothing of ours stays behind after
// the submission; states come from squeue and from the sweep's folder, which all nodes must see. sacct is not needed.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "registry/sweep/folder.h"

namespace caddie::registry {

struct SlurmSettings {
  std::vector<std::string> options;  // KEY=VALUE or KEY, as of sbatch: "time=01:00:00", "partition=gpu"
  int parallel = 0;                  // tasks at a time; 0: no limit
  int threads = 1;                   // CPUs a task
  int gpus = 0;                      // GPUs a task
  bool exclusive = false;            // tasks share no node
  std::string program;               // absolute
  std::vector<std::string> task_options;  // passed on to `sweep task`
};

// The batch script of an array over the jobs with these places in the plan. Options replace what the script has of
// itself: --requeue, --open-mode=append, --signal=B:USR2@120, ... Throws Error(usage) for an option that is none.
CADDIE_API std::string slurm_script(const SweepFolder& folder, const std::vector<std::size_t>& places,
                                    const SlurmSettings& settings);

// Submits `script` with sbatch and writes the array's id down in slurm.json. `after`: an array that must have ended
// first. Throws Error(environment) if sbatch is missing or refuses.
CADDIE_API std::string slurm_submit(const SweepFolder& folder, const std::string& script,
                                    const std::vector<std::size_t>& places, const std::string& after);

// Whether the sweep has been submitted to Slurm.
CADDIE_API bool is_slurm(const SweepFolder& folder);
// Of each job that Slurm has in its queue: its task ("12_3") and state ("PENDING", "RUNNING", ...).
CADDIE_API std::map<std::string, std::pair<std::string, std::string>> slurm_queue(const SweepRecord& record);
// The record, with states that Slurm's queue says: running, pending, or interrupted for a task that is gone.
CADDIE_API SweepRecord with_slurm_states(SweepRecord record);
CADDIE_API void slurm_cancel(const std::vector<std::string>& tasks);
// Asks for the task of this process to be queued again.
CADDIE_API void slurm_requeue_self();

}  // namespace caddie::registry
