// Every key that an override can name, for shells that complete them: the core's table and plugins' options as paths.
#pragma once

#include <string>
#include <vector>

#include "caddie/export.h"
#include "core/config/schemas.h"

namespace caddie {

struct OverrideKey {
  std::string path;                 // "train.stop.steps", "optimizers[match=matrix].learning_rate"
  std::vector<std::string> values;  // where there are few: choices, plugins, true and false
  std::string doc;
};

// Sorted by path, each once. Elements of lists are named by the roles and groups that the reference's model has
// ([match=matrix], [match=mlp]); options of all plugins of a kind are there, whichever is in use.
CADDIE_API std::vector<OverrideKey> override_keys(const ComponentSchemas& schemas);

}  // namespace caddie
