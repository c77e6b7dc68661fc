// A manifest as it was when it was read: one JSON file that holds the text, the overrides and what they resolved to. A
// sweep freezes its jobs, so that an edit of the base changes no job that waits. load_manifest reads such a file as it
// is.
#pragma once

#include <filesystem>
#include <optional>

#include "core/config/manifest.h"

namespace caddie {

CADDIE_API Json freeze(const Manifest& manifest);
// Nothing if the file is no frozen manifest. Throws Error(data) for one that is damaged.
CADDIE_API std::optional<Manifest> read_frozen(const std::filesystem::path& file);

}  // namespace caddie
