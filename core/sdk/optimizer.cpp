#include "caddie/optimizer.h"

#include <algorithm>

namespace caddie {

double linear_ramp(double first, double last, std::int64_t over, std::int64_t step) {
  if (step >= over) return last;
  return first + static_cast<double>(std::max<std::int64_t>(step, 0)) / static_cast<double>(over) * (last - first);
}

double linear_taper(double last, double from, double progress) {
  if (progress <= from) return 1;
  return 1 - (1 - last) * std::min((progress - from) / (1 - from), 1.0);
}

}  // namespace caddie
