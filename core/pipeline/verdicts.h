// Budgets: what a run may use, what it used, and whether that holds.
#pragma once

#include <string>
#include <vector>

#include "caddie/export.h"
#include "core/base/json.h"

namespace caddie::pipeline {

struct Verdict {
  std::string what;  // "artifact bytes"
  double used, cap;
  bool kept;
};

// For each budget of the manifest that the result has a figure for. `last_step_started_at` in training seconds: the
// training budget is broken only if a step starts at or after the cap.
CADDIE_API std::vector<Verdict> verdicts(const Json& budgets, const Json& result, double last_step_started_at);

}  // namespace caddie::pipeline
