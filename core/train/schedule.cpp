#include "core/train/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace caddie::train {
namespace {

// `left` is what remains, as a share of the warmdown, from 1 to 0.
double shaped(const Schedule& schedule, double left) {
  const double x = schedule.shape == ScheduleShape::cosine ? 0.5 * (1 - std::cos(std::numbers::pi * left)) : left;
  return schedule.minimum + (1 - schedule.minimum) * x;
}

bool flat(const Schedule& schedule) { return schedule.shape == ScheduleShape::constant || schedule.warmdown <= 0; }

}  // namespace

double factor_by_seconds(const Schedule& schedule, double elapsed, double seconds) {
  if (flat(schedule)) return 1;
  const double left = std::max(seconds - elapsed, 0.0) / seconds;
  return left >= schedule.warmdown ? 1 : shaped(schedule, left / schedule.warmdown);
}

double factor_by_steps(const Schedule& schedule, std::int64_t step, std::int64_t steps) {
  if (flat(schedule) || step >= steps) return 1;
  const double left = static_cast<double>(steps - step), warmdown = schedule.warmdown * static_cast<double>(steps);
  return left >= warmdown ? 1 : shaped(schedule, left / warmdown);
}

}  // namespace caddie::train
