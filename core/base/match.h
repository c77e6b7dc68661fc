// What `match:` and `ttt.freeze` mean in a manifest: a role (matrix, embedding, vector), a parameter group of the model, or
// a name pattern in which * stands for any characters.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "caddie/export.h"
#include "caddie/model.h"

namespace caddie {

// "blocks.*.mlp.*" against "blocks.3.mlp.up.weight"; the whole name must match.
CADDIE_API bool matches_name(std::string_view pattern, std::string_view name);
CADDIE_API bool matches(std::string_view match, const Parameter& parameter);
CADDIE_API bool matches_any(const std::vector<std::string>& list, const Parameter& parameter);
CADDIE_API std::string_view role_name(Role role);

}  // namespace caddie
