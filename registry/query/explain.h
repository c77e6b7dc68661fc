// Why a stage of a run was computed or taken from the cache: its key's ingredients beside those of the nearest other
// result of that stage, in the cache and in the other runs.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "caddie/export.h"
#include "registry/query/diff.h"

namespace caddie::registry {

struct StageExplanation {
  std::string run, stage, key;
  bool hit = false;
  double seconds = 0;  // that computing it took
  // The result that was used (hit), or the one whose ingredients differ least (miss); empty if there is no other.
  std::string other_key;
  std::string other_run;  // a run that has it; empty: in the cache alone
  bool other_in_cache = false;
  std::vector<Differing> differing;  // a: the other's, b: this run's
  std::size_t compared = 0;          // other results that were looked at
};

// `against`: compare with this run only; empty: with everything. Runs and cache entries that are younger than the run
// do not explain it and are left out. Throws Error(usage) for unknown stages and for stages that the run has not done,
// Error(data) if the run's record is older than ingredients are.
CADDIE_API StageExplanation explain_stage(const std::filesystem::path& runs, const std::filesystem::path& cache,
                                          const std::string& run, const std::string& stage, const std::string& against);

CADDIE_API Json to_json(const StageExplanation& explanation);

}  // namespace caddie::registry
