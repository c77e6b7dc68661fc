// What `match:` means in a manifest, and a name in a plugin's option: a role (matrix, embedding, vector), a parameter
// group of the model ("attention"), or a name pattern in which `*` stands for any text ("blocks.*.mlp.up.weight").
#pragma once

#include <string_view>

#include "caddie/export.h"
#include "caddie/model.h"

namespace caddie {

CADDIE_API const char* role_name(Role role);  // "matrix", "embedding", "vector"
CADDIE_API bool matches_pattern(std::string_view pattern, std::string_view name);
CADDIE_API bool matches(std::string_view match, const Parameter& parameter);

}  // namespace caddie
