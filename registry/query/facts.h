// What can be asked about a run: flat keys and values out of its record. Manifest paths as they are, metrics under
// their names, results under `artifact`, `seconds` and `result`, the machine under `environment`.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "registry/query/value.h"
#include "registry/record/run_record.h"

namespace caddie::registry {

// Sorted by key; keys without a value are left out.
std::vector<std::pair<std::string, Value>> facts_of(const RunRecord& run);

// What `runs list --json` prints of a run: {"run", "directory", "name", "seed", "status", ...}, "result" if it
// finished.
Json document_of(const RunRecord& run);

// Keys that exist whether or not a run has a value for them.
const std::vector<std::string>& standing_keys();

}  // namespace caddie::registry
