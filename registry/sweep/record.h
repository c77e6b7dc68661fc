// A sweep's folder: what was planned, and how far each job is. Written by registry/sweep alone, read by everybody.
//
//   runs/sweeps/<utc>_<name>_<hash8>/
//     sweep.yaml base.yaml       as they were given
//     plan.json                  {"sweep", "base", "exclusive", "jobs": [{"job", "name", "seed", "overrides", "hash"}]}
//     jobs/<job>.json            the manifest of a job, frozen when the sweep was made: `caddie run` takes it
//     state/<job>.json           {"job", "status", "run", "attempts"}; a job without this file is pending
//     output/<job>.{out,err}     what the job's process printed
//     locks/                     held by the processes of the sweep, so that no job runs twice
//     log.txt
//
// A job's run folder holds sweep.json: {"sweep": folder name, "job", "variant"}.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "caddie/export.h"
#include "core/base/json.h"

namespace caddie::registry {

struct SweepAttempt {
  std::string run;         // the run's id; the same for all attempts that go on with one another
  int exit_code = 0;       // 128 + N after signal N
  std::string reason;      // why it did not end well, one line
  std::string started;     // UTC
  double seconds = 0;
};

struct SweepJob {
  std::string job;      // "<variant>_s<seed>", unique in the sweep
  std::string variant;  // the name of a row in a comparison
  std::int64_t seed = 0;
  std::vector<std::string> overrides;
  std::string hash;     // SHA-256 of the resolved manifest
  // pending | running | ok | failed | interrupted | budget | illegal | cancelled | stopped (by halving)
  std::string status = "pending";
  std::string run;      // id of its run; empty before the first attempt
  std::string note;     // why it was stopped or cancelled; may be empty
  std::vector<SweepAttempt> attempts;
};

struct SweepRecord {
  std::string id, name;          // the folder's name; the sweep's
  std::filesystem::path folder;  // absolute
  std::filesystem::path runs;    // where the run folders of its jobs are
  std::vector<SweepJob> jobs;    // in the order of the plan
};

// "running" of a job whose process is gone is told as "interrupted". Throws Error(data) for a folder that is no sweep.
CADDIE_API SweepRecord load_sweep_record(const std::filesystem::path& folder);

// The folder of a sweep: a path, an id, the beginning of an id that only one sweep has, or a sweep's name (the latest
// of that name). An empty text: the latest sweep. Throws Error(usage).
CADDIE_API std::filesystem::path find_sweep(const std::filesystem::path& runs, const std::string& text);
// Whether find_sweep would find one.
CADDIE_API bool is_sweep_name(const std::filesystem::path& runs, const std::string& text);
// Folders of all sweeps under `runs`, oldest first.
CADDIE_API std::vector<std::filesystem::path> list_sweeps(const std::filesystem::path& runs);

// {"sweep": folder name, "job", "variant"} of a run folder; null for a run of its own.
CADDIE_API Json sweep_of_run(const std::filesystem::path& run_folder);

}  // namespace caddie::registry
