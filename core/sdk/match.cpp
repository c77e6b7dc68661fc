#include "caddie/match.h"

namespace caddie {

const char* role_name(Role role) {
  switch (role) {
    case Role::matrix: return "matrix";
    case Role::embedding: return "embedding";
    case Role::vector: return "vector";
  }
  return "vector";
}

bool matches_pattern(std::string_view pattern, std::string_view name) {
  // Greedy with one point of return: the last star takes one more character whenever the rest does not fit.
  std::size_t p = 0, n = 0, star = std::string_view::npos, mark = 0;
  while (n < name.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      mark = n;
    } else if (p < pattern.size() && pattern[p] == name[n]) {
      ++p, ++n;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      n = ++mark;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

bool matches(std::string_view match, const Parameter& parameter) {
  return match == role_name(parameter.role) || match == parameter.group || matches_pattern(match, parameter.name);
}

}  // namespace caddie
