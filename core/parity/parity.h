// Runs the checks of a golden bundle through the functions that a run uses, and says how far each is off.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "core/base/json.h"
#include "core/parity/check.h"

namespace caddie::parity {

enum class Status { passed, failed, not_covered };
CADDIE_API const char* status_name(Status status);  // "passed", "failed", "not covered"

struct CheckResult {
  std::string id, kind;
  Status status = Status::not_covered;
  bool optional = false;
  double worst = 0;         // largest error / tolerance; at most 1 passes
  std::string output;       // the output that it belongs to
  double error = 0, tolerance = 0;  // of that output; a tolerance of 0 is an exact comparison
  std::string detail;       // why it failed or is not covered, where it is more than a number
  double seconds = 0;
};

struct CADDIE_API Report {
  std::string bundle;
  std::vector<CheckResult> checks;
  std::size_t count(Status status) const;
  bool passed() const;  // nothing failed, and what is not covered is optional
  // {"passed", "failed", "not_covered", "checks": [{"id", "kind", "status", "worst", ...}]}
  Json to_json() const;
};

// Runs the checks whose kind or id is in `only` (empty: all). `after_check` is called with each result as it comes.
// Throws Error(data) for a bundle that is incomplete, Error(usage) for an entry of `only` that names nothing in it.
CADDIE_API Report run_checks(const Bundle& bundle, const Catalogue& catalogue, Services& services,
                             const std::vector<std::string>& only = {},
                             const std::function<void(const CheckResult&)>& after_check = {});
// The line of one check: "passed  train_qat     0.162  loss/step_5: 4.5e-04 of 2.8e-03".
CADDIE_API std::string text_of(const CheckResult& result);

}  // namespace caddie::parity
