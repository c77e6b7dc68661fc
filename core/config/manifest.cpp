// From files and overrides to a checked manifest.
#include "core/config/manifest.h"

#include "core/config/checker.h"
#include "core/config/frozen.h"
#include "core/config/merge.h"
#include "core/config/resolve.h"
#include "core/config/text.h"

namespace caddie {
namespace fs = std::filesystem;

namespace config {

Location whole_file(const std::string& name) {
  auto source = std::make_shared<Source>();
  source->name = name;
  source->folder = fs::current_path();
  return {source, 0, 0, 1};
}

Checked resolve(const Chain& chain, const Node& tree, const ComponentSchemas& schemas, Problems& problems) {
  const Location whole = whole_file(chain.names.front());
  if (!chain.extends && !tree.find("caddie"))
    problems.add(whole, concat("'", chain.names.front(), "' does not begin with 'caddie: 1'"), {},
                 "the version of the format; a file that extends another may leave it out");
  Node chosen = tree;
  std::vector<std::string> notes;
  choose_data(chosen, notes);
  Checked checked = check(chosen, whole, schemas, problems);
  checked.notes.insert(checked.notes.begin(), notes.begin(), notes.end());
  cross_check(chosen, whole, checked.resolved, problems);
  Json& name = checked.resolved["name"];
  if (name == "") name = file_name(fs::path(chain.names.front()).stem().string());
  return checked;
}

}  // namespace config

Manifest load_manifest(const fs::path& file, std::span<const std::string> overrides, const ComponentSchemas& schemas) {
  if (auto frozen = read_frozen(file)) {
    for (const std::string& text : overrides) {
      const std::string key = text.substr(0, text.find('='));
      const Json value = frozen->resolved.value(key, Json());
      if (value.is_string() && text == key + "=" + value.get<std::string>()) continue;  // as it is: device=cuda of --gpus
      throw Error(ErrorKind::usage, concat(file.string(), " is a frozen manifest, it takes no override: ", text),
                  concat("Run what it was made from: ", frozen->file.string()));
    }
    return *frozen;
  }
  config::Problems problems;
  config::Chain chain = config::load_chain(file, problems);
  std::vector<std::string> order = chain.names;
  order.emplace_back("command line");
  if (const config::Entry* sweep = chain.tree.find("sweep"))
    problems.add(sweep->where, "this is a sweep, accepted here: a manifest of one run", {},
                 "caddie sweep run takes it");
  if (!chain.readable || chain.tree.find("sweep")) throw ManifestError(problems.sorted(order));

  int layer = static_cast<int>(chain.sources.size());
  for (const std::string& text : overrides) {
    const auto change = config::parse_override(text, problems);
    if (change) config::apply(chain.tree, *change, layer++, problems);
  }
  config::Checked checked = config::resolve(chain, chain.tree, schemas, problems);
  if (!problems.empty()) throw ManifestError(problems.sorted(order));

  Manifest manifest;
  manifest.file = chain.sources.front();
  manifest.sources = std::move(chain.sources);
  manifest.text = std::move(chain.text);
  manifest.overrides.assign(overrides.begin(), overrides.end());
  manifest.resolved = std::move(checked.resolved);
  manifest.notes = std::move(checked.notes);
  manifest.origins = std::move(checked.origins);
  return manifest;
}

std::string Manifest::origin(const std::string& path) const {
  const auto found = origins.find(path);
  return found == origins.end() ? "default" : found->second;
}

}  // namespace caddie
