// A merged tree against the core's table and the plugins' schemas, in one pass: what is wrong, and the resolved JSON
// with defaults and origins. Internal to config.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "core/config/document.h"
#include "core/config/schema.h"

namespace caddie::config {

struct Checked {
  Json resolved;                               // incomplete if there were problems
  std::map<std::string, std::string> origins;  // leaf -> "file:line", "command line: ..." or "default"
  std::vector<std::string> notes;
};

// `whole` is the manifest as a whole, for what is missing on the top level.
Checked check(const Node& tree, const Location& whole, const ComponentSchemas& schemas, Problems& problems);

// What no single key can tell: a step that does not divide, no stop, shards and a text. Looks at values that passed.
void cross_check(const Node& tree, const Location& whole, const Json& resolved, Problems& problems);

std::string origin_of(const Location& where);

}  // namespace caddie::config
