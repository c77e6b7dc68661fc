// What a run's folder says, read whole into memory: what was asked for, with what, what happened, what came out.
// The folder is the truth; nothing here is kept anywhere else but in the index, which can be made again from it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "caddie/export.h"
#include "core/base/json.h"

namespace caddie::registry {

// One score of a run: float64 sums over exactly the targets that were scored.
struct RunScore {
  double nats = 0;                // sum
  std::int64_t tokens = 0, bytes = 0;
  double loss = 0;                // nats a token
  double bits_per_byte = 0;
  std::int64_t limited_to = 0;    // `evaluate.tokens` where it cut the text short; 0: all of it
};

struct CADDIE_API RunRecord {
  std::string id;                 // the folder's name
  std::filesystem::path folder;   // absolute
  std::string name;               // the manifest's
  std::int64_t seed = 0;
  std::string status;             // running | ok | failed | interrupted | budget | illegal
  std::string stage;              // where it is, while it runs; empty otherwise
  std::string error;              // why it did not end well; may be empty
  std::string started, updated;   // "2026-11-24T06:03:13Z"
  double seconds = 0;             // that computing the stages took, now or when they were computed
  std::int64_t process = 0;       // of the last status
  std::string host;               // where that process runs; empty: not written down

  Json resolved;                  // the manifest as it was understood
  std::vector<std::string> overrides;
  Json plugins;                   // {"optimizer muon": {"version", "sha256", ...}}
  Json environment;
  Json stages;                    // {"train": stages/train.json, ...}; what is done
  Json metrics;                   // {"val_bpb": x, ...}: of the result, or of the stages that are done
  std::map<std::string, RunScore> scores;  // by the metric's name: "val_bpb", "ttt_bpb", ...
  Json result;                    // what `run --json` printed; null if the run did not finish
  Json more;                      // beside it: verdicts, baselines, identity of the data; null if not finished
  Json sweep;                     // {"sweep", "job", "variant"}; null outside a sweep
  std::vector<std::string> tags;  // tags.json

  // It has a result: status ok, or budget (finished, and over a budget).
  bool finished() const { return result.is_object() && (status == "ok" || status == "budget"); }
  // What belongs together: SHA-256 of the resolved manifest without its seed.
  std::string group() const;
  // "running" of a process of this machine that is gone is "lost"; otherwise `status`.
  std::string shown_status() const;
};

// Reads a run's folder. Throws Error(data), naming the file, for a folder that is torn or is no run.
CADDIE_API RunRecord load_run(const std::filesystem::path& folder);

struct SkippedFolder {
  std::filesystem::path folder;
  std::string reason;
};
struct RunScan {
  std::vector<RunRecord> runs;          // by folder name, that is by time
  std::vector<SkippedFolder> skipped;   // torn or foreign, and why
};
// Every run folder in `runs`, never throwing for what is in one of them. Folders that are none (`sweeps`, names with a dot
// in front) are passed over in silence; a missing `runs` has no runs.
CADDIE_API RunScan scan_runs(const std::filesystem::path& runs);
// The folders that scan_runs() would read, sorted.
CADDIE_API std::vector<std::filesystem::path> run_folders(const std::filesystem::path& runs);

// The folder that a person means: an id, the beginning of an id that only one run has, or a path. Throws Error(usage).
CADDIE_API std::filesystem::path find_run(const std::filesystem::path& runs, const std::string& run);

// Leaves as path -> value: "model.layers", "optimizers[match=matrix].learning_rate" (lists of maps by their `match`, else
// by position), lists of plain values as one leaf, null and {} as leaves.
CADDIE_API std::map<std::string, Json> flatten(const Json& value, const std::string& prefix = {});

}  // namespace caddie::registry
