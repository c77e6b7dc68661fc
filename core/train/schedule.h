// The learning rates' common factor as a pure function of the time or the steps used. Reference section 3.
#pragma once

#include <cstdint>

#include "core/train/settings.h"

namespace caddie::train {

// `elapsed` of `seconds` of training time are used. Never negative; `minimum` from the end on.
CADDIE_API double factor_by_seconds(const Schedule& schedule, double elapsed, double seconds);
// Before step `step` (from 0) of `steps`. From step `steps` on it is 1, as in the reference: no step of a run is there.
CADDIE_API double factor_by_steps(const Schedule& schedule, std::int64_t step, std::int64_t steps);

}  // namespace caddie::train
