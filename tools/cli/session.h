// Shared by the commands that take a manifest: catalogue, overrides, session.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/host/catalogue.h"
#include "core/pipeline/session.h"
#include "tools/cli/command.h"
#include "tools/cli/table.h"

namespace caddie::cli {

std::shared_ptr<const Catalogue> make_catalogue(const Globals& globals);
// Reads and checks the manifest; notes go to the log.
pipeline::Session make_session(const Globals& globals, const std::string& manifest,
                               const std::vector<std::string>& overrides, pipeline::SessionRanks ranks = {});

}  // namespace caddie::cli
