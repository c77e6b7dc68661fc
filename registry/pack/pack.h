// The submission folder of the challenge, made of finished runs that differ in nothing but the seed:
//
//   README.md submission.json manifest.yaml source.tar.xz files.json
//   seed_<n>/  model.caddie tokenizer.model ledger.jsonl train.log metrics.jsonl facts.json plugins.json
//   environment.json
//
// files.json lists every other file with its size and SHA-256; facts.json holds what is claimed of a seed.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "caddie/export.h"
#include "registry/record/run_record.h"

namespace caddie::registry {

struct PackOptions {
  std::filesystem::path output;
  std::vector<std::string> allow;  // seeds: fewer than three; limited: a part of the validation text; source: the
                                   // program is not the one that ran
  std::string author, github_id, title, summary;  // for submission.json; title defaults to the manifest's name
  std::string track = "10min_16mb";
};

// Writes the folder whole or not at all; it must not exist, or be empty. Gives submission.json.
// Throws Error, all reasons at once: legality for a ledger with a breach, budget for a broken one, else usage:
// manifests or plugins that differ, unfinished runs, a seed twice, and what `allow` could let pass.
CADDIE_API Json pack_runs(const std::vector<RunRecord>& runs, const PackOptions& options);

// The score that counts: ttt_bpb, else sliding_bpb, else roundtrip_bpb. Empty if there is none.
CADDIE_API std::string headline_metric(const RunRecord& run);

// README.md of a submission.
std::string submission_readme(const Json& submission, const std::vector<RunRecord>& runs, const std::string& metric);
// A training log in the challenge's form, a step a line, with the scores at the end.
std::string training_log(const RunRecord& run);

}  // namespace caddie::registry
