// What a run would do: stages with hit or miss, and what it would take. Runs nothing and writes nothing.
#pragma once

#include <filesystem>

#include "caddie/export.h"
#include "core/base/json.h"
#include "core/pipeline/session.h"
#include "core/pipeline/walk.h"

namespace caddie::pipeline {

// {"parameters", "fits", "stages": [{"stage", "key", "cached"}], "predicted": {"artifact_bytes", "memory_bytes",
//  "seconds": {stage: x}, "step_seconds"}, "notes": [...]}. Keys that depend on something which is not computed yet, or on data that is
// missing, are null.
CADDIE_API Json plan(const Session& session, const std::filesystem::path& cache);
CADDIE_API Json plan(const Session& session, const std::filesystem::path& cache, const Walk::Steps& steps);

}  // namespace caddie::pipeline
