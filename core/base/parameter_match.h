// What `match:` means in a manifest, wherever it stands (optimizers, fake_quant, quantize.tensors, ttt.freeze): a role
// (matrix, embedding, vector), a parameter group of the model ("attention"), or a name pattern in which `*` stands for
// any text ("blocks.*.mlp.up.weight").
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "caddie/export.h"
#include "caddie/model.h"

namespace caddie {

CADDIE_API const char* role_name(Role role);  // "matrix", "embedding", "vector"
CADDIE_API bool matches_pattern(std::string_view pattern, std::string_view name);
CADDIE_API bool matches(std::string_view match, const Parameter& parameter);

// Indices of the parameters that match, in the model's order. Throws Error(usage) if there is none; `where` says which
// list of the manifest is meant ("train.fake_quant").
CADDIE_API std::vector<std::size_t> select_parameters(std::span<const Parameter> parameters, std::string_view match,
                                                      std::string_view where);

// For each parameter, the index of the one entry of `entries` that matches it. Throws Error(usage) with all parameters
// that no entry or more than one entry matches, and for an entry that matches nothing (unless it names a role).
CADDIE_API std::vector<std::size_t> assign_parameters(std::span<const Parameter> parameters,
                                                      std::span<const std::string> entries, std::string_view where);

}  // namespace caddie
