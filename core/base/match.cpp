#include "core/base/match.h"

#include <algorithm>

namespace caddie {

bool matches_name(std::string_view pattern, std::string_view name) {
  // Greedy with one fallback: the last * takes one more character whenever the rest does not fit.
  std::size_t p = 0, n = 0, star = std::string_view::npos, retry = 0;
  while (n < name.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      retry = n;
    } else if (p < pattern.size() && pattern[p] == name[n]) {
      ++p;
      ++n;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      n = ++retry;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

std::string_view role_name(Role role) {
  switch (role) {
    case Role::matrix: return "matrix";
    case Role::embedding: return "embedding";
    case Role::vector: return "vector";
  }
  return "";
}

bool matches(std::string_view match, const Parameter& parameter) {
  return match == role_name(parameter.role) || match == parameter.group || matches_name(match, parameter.name);
}

bool matches_any(const std::vector<std::string>& list, const Parameter& parameter) {
  return std::any_of(list.begin(), list.end(), [&](const std::string& match) { return matches(match, parameter); });
}

}  // namespace caddie
