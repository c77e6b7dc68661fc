// The points of a sweep: variants, grid, zip, random and ablate turned into named lists of overrides. Internal
// to config.
#pragma once

#include <string>
#include <vector>

#include "core/config/merge.h"

namespace caddie::config {

struct Point {
  std::string name;
  std::vector<Override> changes;
};

inline constexpr std::size_t kMaxPoints = 10'000;

// {path: value, ...} as overrides, in order.
std::vector<Override> changes_of(const Node& map, const std::string& what, Problems& problems);

// Of the one key among variants, grid, zip, random and ablate that the sweep has; one point named `fallback` without.
std::vector<Point> points_of(const Node& sweep, const std::string& fallback, Problems& problems);

// "path=value" that reads back the same from any working directory: paths of files are made absolute.
std::string override_text(const Override& change);

}  // namespace caddie::config
