// A result beside a stored one of the same part and shape, as ratios: how a slower change is noticed.
#pragma once

#include <string>
#include <vector>

#include "caddie/export.h"
#include "core/base/json.h"

namespace caddie::bench {

struct Comparison {
  std::string bench, shape, figure;  // "train", "quick", "step_ms_median"
  double stored, now;
  double ratio;    // now / stored; above 1: slower, or more memory
  bool apart;      // the two interquartile ranges do not touch: more than noise
};
struct Against {
  std::vector<Comparison> rows;
  std::vector<std::string> notes;  // what differs between the machines, and results without a partner
};
// `stored` and `now`: results, or lists of them. Rows of the same bench, shape, device and precision are compared.
CADDIE_API Against compare_with(const Json& stored, const Json& now);

}  // namespace caddie::bench
