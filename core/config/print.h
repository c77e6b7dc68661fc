// Resolved manifests for people: as YAML that loads again, with origins, and the difference of two.
#pragma once

#include <string>
#include <vector>

#include "caddie/export.h"
#include "core/config/manifest.h"

namespace caddie {

// The resolved manifest as YAML: one key a line, in the order of the documentation; loading it gives the same resolved
// manifest. With `origins` every value is followed by a comment that says where it was set.
CADDIE_API std::string to_yaml(const Manifest& manifest, bool origins);

struct Difference {
  std::string path;  // "optimizers[0].learning_rate"
  Json left, right;  // null with `missing` set where one side lacks the path
  bool left_missing = false, right_missing = false;
};
// Leaves that differ, in the order of the paths' names.
CADDIE_API std::vector<Difference> differences(const Json& left, const Json& right);

}  // namespace caddie
