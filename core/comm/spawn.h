// The program's own launcher: the same command again as N processes of this host. It serves the store, passes signals on,
// and ends the group when a rank fails. Rank 0's output is the output; the others' is kept for the case that they fail.
#pragma once

#include <string>
#include <vector>

#include "caddie/export.h"

namespace caddie {

struct SpawnSettings {
  int ranks = 2;
  std::vector<std::string> command;  // arguments[0] is the program's name; the program is this one
  double grace_seconds = 6;          // for the others to end by themselves after a failure
};

// Returns the exit code of rank 0, or of the rank that failed first, once all have ended; whatever happens none is left
// behind. Throws Error if the rank that failed first could not tell its error and rank 0 could not either (it was killed).
CADDIE_API int spawn_ranks(const SpawnSettings& settings);

}  // namespace caddie
