// How two runs differ: manifest, plugins, environment, metrics, and the first ingredient of each stage's key.
#pragma once

#include <string>
#include <vector>

#include "caddie/export.h"
#include "registry/record/run_record.h"

namespace caddie::registry {

struct Differing {
  std::string path;
  Json a, b;  // null where a side has none; `absent_*` tells that from a null
  bool absent_a = false, absent_b = false;
};
// Leaves that differ, by path (flatten()).
CADDIE_API std::vector<Differing> differing(const Json& a, const Json& b);

struct StageDiff {
  std::string stage, key_a, key_b;     // keys empty where a run did not come to the stage
  std::vector<Differing> ingredients;  // what the keys were made of; empty if equal, or not written down
};
struct RunDiff {
  std::vector<Differing> manifest, plugins, environment, metrics;
  std::vector<StageDiff> stages;  // of either run, in the order of the stages
};
// Where plugins' files lie does not count as a difference, their content does.
CADDIE_API RunDiff diff_runs(const RunRecord& a, const RunRecord& b);
CADDIE_API Json to_json(const RunDiff& diff);

}  // namespace caddie::registry
