// Names that a person writes for what the index holds: a whole path, its end ("layers"), without selectors
// ("optimizers.learning_rate" means every entry's), or a short name ("optimizer", "bytes").
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace caddie::registry {

struct FoundKeys {
  std::vector<std::string> keys;  // of one thing; several where a list has several entries
  std::string problem, hint;      // what is wrong with the name; `keys` is empty then
  std::string suggestion;         // the name to write instead; may be empty
};
FoundKeys find_keys(const std::string& name, const std::vector<std::string>& keys);

// "optimizers[match=matrix].use" -> "optimizers.use"
std::string without_selectors(const std::string& key);

}  // namespace caddie::registry
