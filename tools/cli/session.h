// Shared by the commands that take a manifest: catalogue, overrides, session.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/host/catalogue.h"
#include "core/pipeline/session.h"
#include "tools/cli/command.h"

namespace caddie::cli {

std::shared_ptr<const Catalogue> make_catalogue(const Globals& globals);
// Reads and checks the manifest; notes go to the log.
pipeline::Session make_session(const Globals& globals, const std::string& manifest,
                               const std::vector<std::string>& overrides, pipeline::SessionRanks ranks = {});
// A table of left-aligned first and right-aligned other columns, two spaces apart.
std::string table(const std::vector<std::vector<std::string>>& rows);
std::string with_commas(std::int64_t number);
std::string fixed(double value, int decimals);

}  // namespace caddie::cli
