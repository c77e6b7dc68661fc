// Loading one plugin as a test: in a child process, so that whatever it does there is reported and nothing else suffers.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "caddie/export.h"
#include "core/base/json.h"

namespace caddie {

// The file that `what` means: a path, or the name of a plugin or component in `folders`. Throws Error(usage) if there is
// none.
CADDIE_API std::filesystem::path find_plugin_file(const std::vector<std::filesystem::path>& folders,
                                                  std::string_view what);

// Loads it in this process: {"file", "plugin", "version", "abi", "components": [{"kind", "name"}]}. Throws
// Error(environment) naming the file.
CADDIE_API Json check_library(const std::filesystem::path& file);

// The same, by starting this program again with `plugin check FILE --here --json`. A child that crashes, exits or does
// not come back is an Error(environment) too.
CADDIE_API Json check_in_child(const std::filesystem::path& file);
CADDIE_API std::string check_as_text(const Json& checked);

}  // namespace caddie
