// A merged tree to a checked manifest: shared by single manifests and sweeps. Internal to config.
#pragma once

#include "core/config/checker.h"
#include "core/config/merge.h"

namespace caddie::config {

Checked resolve(const Chain& chain, const Node& tree, const ComponentSchemas& schemas, Problems& problems);
// Where layers name data in different ways (shards, a text, a dataset), the newest layer's way stays.
void choose_data(Node& tree, std::vector<std::string>& notes);
Location whole_file(const std::string& name);

}  // namespace caddie::config
