#include "tools/cli/session.h"

#include "core/base/log.h"

namespace caddie::cli {

std::shared_ptr<const Catalogue> make_catalogue(const Globals& globals) {
  return std::make_shared<const Catalogue>(Catalogue::search_folders(globals.plugin_dirs));
}

pipeline::Session make_session(const Globals& globals, const std::string& manifest,
                               const std::vector<std::string>& overrides, pipeline::SessionRanks ranks) {
  auto catalogue = make_catalogue(globals);
  Manifest loaded = load_manifest(manifest, overrides, *catalogue);
  for (const std::string& note : loaded.notes) log::info(note);
  return pipeline::Session(std::move(loaded), std::move(catalogue), ranks);
}

}  // namespace caddie::cli
