// One plugin library: checked, opened once per file, never closed. Closing would unmap the code of autograd nodes,
// deleters and exceptions that are still alive.
#pragma once

#include <filesystem>
#include <string>

#include "caddie/plugin.h"

namespace caddie {

struct Library {
  std::filesystem::path file;  // absolute, links resolved
  std::string plugin;          // "muon" of libcaddie_muon.so
  std::string abi;             // its tag
  const PluginDescriptor* descriptor;
  mutable std::string sha256;  // of the file, made when asked for
};

// "muon" for ".../libcaddie_muon.so"; empty if the file is not named like a plugin.
CADDIE_API std::string plugin_of_file(const std::filesystem::path& file);

// Checks name and tag, opens the library, checks its descriptor. The same file (by device and inode) is opened once a
// process. Throws Error(environment); its hint says what to do.
CADDIE_API const Library& open_library(const std::filesystem::path& file);

}  // namespace caddie
