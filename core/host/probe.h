// Opens plugins in forked children, to learn which of them end the process that loads them.
#pragma once

#include <filesystem>
#include <map>
#include <span>
#include <string>

#include "caddie/export.h"

namespace caddie {

// File -> how it ended its child ("exits with code 3", "is killed by signal 11 (Segmentation fault)", "does not come
// back"). One child serves all files until one of them ends it.
CADDIE_API std::map<std::string, std::string> lethal_files(std::span<const std::filesystem::path> files);

}  // namespace caddie
