// Factors of the learning rate by parameter: "blocks.*.mlp.down.weight=3, attention=0.5".
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "caddie/model.h"

namespace ttt_adamw {

struct RateRule {
  std::string match;  // role, group or name pattern
  double factor;
};

// Throws Error(usage) for a text that is no such list.
std::vector<RateRule> parse_rates(std::string_view text);
// One factor a parameter: that of the first rule that matches, else 1. Throws Error(usage) for a rule that matches none.
std::vector<double> rates_of(std::span<const caddie::Parameter> parameters, std::span<const RateRule> rules);

}  // namespace ttt_adamw
