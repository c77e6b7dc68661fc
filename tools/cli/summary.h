// The last lines of a run, for a person: scores by stage, bytes against the cap, verdicts, where everything is, and what
// to try next.
#pragma once

#include <string>

#include "core/base/json.h"

namespace caddie::cli {

// `result` and `more` of a RunOutcome; `manifest` as the person wrote it.
std::string run_summary(const Json& result, const Json& more, const std::string& manifest);

}  // namespace caddie::cli
