// What is done to runs by hand: tags, the bin. Removed runs lie in `runs/.bin` until they are purged or restored.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "caddie/export.h"
#include "core/base/json.h"

namespace caddie::registry {

// Adds and takes away tags of a run; gives the tags that it has then, sorted. Throws Error(usage) for tags with commas,
// blanks or quotes.
CADDIE_API std::vector<std::string> tag_run(const std::filesystem::path& runs, const std::string& run,
                                            const std::vector<std::string>& add,
                                            const std::vector<std::string>& remove);

// Moves runs to the bin; with `purge` deletes them, from the bin too. All names are looked up before the first is
// moved. Throws Error(usage) for a run whose process is alive. Gives the ids.
CADDIE_API std::vector<std::string> remove_runs(const std::filesystem::path& runs,
                                                const std::vector<std::string>& names, bool purge);
CADDIE_API std::vector<std::string> restore_runs(const std::filesystem::path& runs,
                                                 const std::vector<std::string>& names);
// Ids in the bin, sorted.
CADDIE_API std::vector<std::string> bin_contents(const std::filesystem::path& runs);

}  // namespace caddie::registry
