// The folder of a new plugin, written from templates that are part of the program (core/host/templates).
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "caddie/export.h"
#include "caddie/plugin.h"

namespace caddie {

struct Scaffold {
  std::filesystem::path folder;
  std::vector<std::string> files;  // names in it
  std::string next_steps;          // text for a person
};

// plugins/<kind> if the working folder is caddie's source tree, otherwise ".".
CADDIE_API std::filesystem::path default_plugin_parent(PluginKind kind);

// Writes the folder `into`/`name`, or `into` itself if that is its name already. It must be absent or empty. Throws
// Error(usage) for a name that is not lower_snake or a folder that is not empty.
CADDIE_API Scaffold write_scaffold(PluginKind kind, std::string_view name, const std::filesystem::path& into);

}  // namespace caddie
