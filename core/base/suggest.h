// "Did you mean": the closest of a set of names, by edit distance (insert, delete, replace, swap of neighbours).
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "caddie/export.h"

namespace caddie {

CADDIE_API int edit_distance(std::string_view a, std::string_view b);
// The closest candidate if it is close enough to be meant (a third of the letters, at least one), otherwise empty.
CADDIE_API std::string closest(std::string_view name, std::span<const std::string> candidates);

}  // namespace caddie
