// Makes a sweep's folder: what was planned, and each job's manifest frozen.
#pragma once

#include <filesystem>
#include <optional>
#include <vector>

#include "core/config/sweep.h"
#include "registry/sweep/folder.h"
#include "registry/sweep/plan.h"

namespace caddie::registry {

// A folder that appears whole or not at all. `options` is kept in plan.json: what every runner of this sweep is to
// know.
CADDIE_API SweepFolder create_sweep(const std::filesystem::path& runs, const Sweep& sweep, const SweepPlan& plan,
                                    const std::vector<Manifest>& manifests, const Json& options);

// The latest sweep of the same jobs and options that has not come to its end, if there is one: `sweep run` goes on with
// it.
CADDIE_API std::optional<SweepFolder> find_unfinished(const std::filesystem::path& runs, const SweepPlan& plan,
                                                      const Json& options);

// Adds jobs to a sweep that exists; used between jobs by the runner alone.
CADDIE_API void add_jobs(const SweepFolder& folder, const std::vector<PlannedJob>& jobs,
                         const std::vector<Manifest>& manifests);

// The `options` that a sweep was made with.
CADDIE_API Json sweep_options(const SweepFolder& folder);

}  // namespace caddie::registry
