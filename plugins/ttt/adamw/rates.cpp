#include "rates.h"

#include <cmath>
#include <cstdlib>

#include "caddie/error.h"
#include "caddie/match.h"

namespace ttt_adamw {
namespace {

using caddie::ErrorKind;

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
  return text;
}

}  // namespace

std::vector<RateRule> parse_rates(std::string_view text) {
  std::vector<RateRule> rules;
  while (!trimmed(text).empty()) {
    const auto comma = std::min(text.find(','), text.size());
    const auto rule = trimmed(text.substr(0, comma));
    text.remove_prefix(std::min(comma + 1, text.size()));
    const auto equals = rule.rfind('=');
    const std::string match(trimmed(rule.substr(0, std::min(equals, rule.size()))));
    const std::string number(equals < rule.size() ? trimmed(rule.substr(equals + 1)) : std::string_view());
    char* end = nullptr;
    const double factor = std::strtod(number.c_str(), &end);
    CADDIE_CHECK(!match.empty() && !number.empty() && *end == '\0' && std::isfinite(factor) && factor >= 0,
                 ErrorKind::usage, "'rates' has '", rule,
                 "', accepted: PATTERN=FACTOR, several with commas between them, each factor at least 0");
    rules.push_back({match, factor});
  }
  return rules;
}

std::vector<double> rates_of(std::span<const caddie::Parameter> parameters, std::span<const RateRule> rules) {
  std::vector<double> factors;
  std::vector<bool> used(rules.size(), false);
  for (const auto& parameter : parameters) {
    double factor = 1;
    for (std::size_t i = rules.size(); i-- > 0;)  // from the last on: the first that matches is what remains
      if (caddie::matches(rules[i].match, parameter)) factor = rules[i].factor, used[i] = true;
    factors.push_back(factor);
  }
  for (std::size_t i = 0; i < rules.size(); ++i)
    CADDIE_CHECK(used[i], ErrorKind::usage, "'rates': '", rules[i].match,
                 "' matches no parameter that may be adapted (a role, a group of the model or a name pattern with *)");
  return factors;
}

}  // namespace ttt_adamw
