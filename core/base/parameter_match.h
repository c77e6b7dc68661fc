// A manifest's lists of `match:` (optimizers, fake_quant, quantize.tensors, ttt.freeze) over a model's parameters. What
// one `match` means is in caddie/match.h.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "caddie/export.h"
#include "caddie/match.h"
#include "caddie/model.h"

namespace caddie {

// Indices of the parameters that match, in the model's order. Throws Error(usage) if there is none; `where` says which
// list of the manifest is meant ("train.fake_quant").
CADDIE_API std::vector<std::size_t> select_parameters(std::span<const Parameter> parameters, std::string_view match,
                                                      std::string_view where);

// For each parameter, the index of the one entry of `entries` that matches it. Throws Error(usage) with all parameters
// that no entry or more than one entry matches, and for an entry that matches nothing (unless it names a role).
CADDIE_API std::vector<std::size_t> assign_parameters(std::span<const Parameter> parameters,
                                                      std::span<const std::string> entries, std::string_view where);

}  // namespace caddie
