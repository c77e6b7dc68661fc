// A run's id and folder, taken before its process is started.
#pragma once

#include "registry/sweep/folder.h"

namespace caddie::registry {

// Begins an attempt: the job's state says "running" with the run's id before the run's folder is made, and the folder
// holds sweep.json before the process starts, so that a kill at any moment leaves nothing that nobody knows. A job that
// has a run goes on with it.
CADDIE_API void reserve_run(const SweepFolder& folder, SweepJob& job);

}  // namespace caddie::registry
