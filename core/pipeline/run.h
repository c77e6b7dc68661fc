// One run: the stages in order, each a hit in the cache or computed, the budgets' verdicts, and the record in the run's
// folder. `eval` scores an artifact alone through the same functions.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "caddie/error.h"
#include "core/base/json.h"
#include "core/pipeline/cache.h"
#include "core/pipeline/session.h"

namespace caddie::pipeline {

struct RunOptions {
  std::filesystem::path runs = "runs";
  std::filesystem::path cache;  // empty: StageCache::default_root()
  std::string from;             // this stage and later ones are computed, whatever the cache holds
  std::string until;            // the last stage to run
  bool no_cache = false;        // compute everything
  bool tensorboard = false;     // write TensorBoard event files into the run's folder
  bool offline = false;         // a dataset that is not on this machine is an error, not a download
  std::string resume;           // go on with this run
  std::string id;               // the run's folder; an existing one is gone on with, as by `resume`. Empty: a new one
};

struct RunOutcome {
  Json result;                 // what `run --json` prints
  Json more;                   // for people: baselines, notes
  std::optional<Error> error;  // why the run did not end well; its kind gives the exit code
};

// Never throws for what happens in a stage: that is in `error`, in `result.status` and in the run's folder. Throws
// Error(usage) before anything is written for options that make no sense.
CADDIE_API RunOutcome run(const Session& session, const RunOptions& options);

// The `metrics` of the scores that the manifest asks for, of an artifact file.
CADDIE_API Json evaluate_artifact(const Session& session, const RunOptions& options, const std::filesystem::path& file);

// The compressed source of this program, which is shipped with a submission; nothing if this build did not make it.
CADDIE_API std::optional<std::filesystem::path> source_archive();
// Bytes of the compressed source that is shipped with a submission; nothing if this build did not make it.
CADDIE_API std::optional<std::int64_t> code_bytes();

}  // namespace caddie::pipeline
