// What a sweep came to: the object that `sweep run --json` prints, the table for a person, and the exit code.
#pragma once

#include <string>

#include "registry/sweep/record.h"

namespace caddie::registry {

// {"sweep", "id", "directory", "runs": [{"run", "name", "seed", "status", "metrics"}],
//  "stages": {"train": {"computed": n, "reused": n}, ...}}; stages from the run folders' stages/*.json.
CADDIE_API Json sweep_result(const SweepRecord& record);

// 8 if jobs failed or are illegal, 75 if jobs are left to do, 5 if one is over a budget, 0 otherwise. Jobs that were
// cancelled or stopped early count for nothing.
CADDIE_API int sweep_exit_code(const SweepRecord& record);

// Jobs by status, "12 ok, 1 failed".
CADDIE_API std::string status_counts(const SweepRecord& record);

}  // namespace caddie::registry
