// config check, show, diff, schema.
#include <cstdio>
#include <memory>

#include "core/base/log.h"
#include "core/config/json_schema.h"
#include "core/config/manifest.h"
#include "core/config/print.h"
#include "core/config/sweep.h"
#include "core/host/catalogue.h"
#include "tools/cli/command.h"

namespace caddie::cli {
namespace {

Catalogue catalogue(const Globals& globals) { return Catalogue(Catalogue::search_folders(globals.plugin_dirs)); }

Json to_json(const Problem& problem) {
  const std::string note = problem.note.empty() ? "" : " (" + problem.note + ")";
  return {{"file", problem.file},
          {"line", problem.line},
          {"column", problem.column},
          {"message", problem.message + note},
          {"suggestion", problem.suggestion}};
}

int check(const Globals& globals, const std::vector<std::string>& manifests) {
  const Catalogue plugins = catalogue(globals);
  std::vector<Problem> problems;
  std::string accepted;
  for (const std::string& file : manifests) {
    try {
      if (is_sweep(file)) {
        const Sweep sweep = load_sweep(file, plugins);
        accepted += concat(file, ": ok, a sweep of ", expand(sweep).size(), " runs\n");
      } else {
        const Manifest manifest = load_manifest(file, {}, plugins);
        for (const std::string& note : manifest.notes) log::info(note);
        accepted += file + ": ok\n";
      }
    } catch (const ManifestError& error) {
      problems.insert(problems.end(), error.problems().begin(), error.problems().end());
    }
  }
  Json errors = Json::array();
  for (const Problem& problem : problems) errors.push_back(to_json(problem));
  print_result(globals, canonical(Json({{"manifests", manifests.size()}, {"errors", std::move(errors)}})), accepted);
  if (!problems.empty() && !globals.json) std::fprintf(stderr, "%s\n", render(problems).c_str());
  return problems.empty() ? 0 : 2;
}

int show(const Globals& globals, const std::string& file, const std::vector<std::string>& overrides, bool origins) {
  const Manifest manifest = load_manifest(file, overrides, catalogue(globals));
  for (const std::string& note : manifest.notes) log::info(note);
  Json json = manifest.resolved;
  if (origins) json = {{"resolved", manifest.resolved}, {"origins", manifest.origins}};
  print_result(globals, canonical(json), to_yaml(manifest, origins));
  return 0;
}

int diff(const Globals& globals, const std::string& left, const std::string& right) {
  const Catalogue plugins = catalogue(globals);
  const Json a = load_manifest(left, {}, plugins).resolved, b = load_manifest(right, {}, plugins).resolved;
  Json list = Json::array();
  std::string text;
  for (const Difference& d : differences(a, b)) {
    list.push_back({{"path", d.path}, {"left", d.left}, {"right", d.right}});
    text += concat(d.path, ": ", d.left_missing ? "(absent)" : d.left.dump(), " -> ",
                   d.right_missing ? "(absent)" : d.right.dump(), "\n");
  }
  print_result(globals, canonical(Json({{"differences", std::move(list)}})), text.empty() ? "no difference\n" : text);
  return 0;
}

int schema(const Globals& globals) {
  const Json json = manifest_json_schema(catalogue(globals));
  print_result(globals, canonical(json), json.dump(2));
  return 0;
}

}  // namespace

void add_config_commands(Command& root) {
  Command config = root.add("config", "Check, resolve, compare and describe manifests");

  auto files = std::make_shared<std::vector<std::string>>();
  Command check_command = config.add("check", "Check manifests and sweeps without running anything",
                                     "  caddie config check experiments/*.yaml");
  check_command.arguments("MANIFEST", *files, "Manifests or sweeps", true)
      .run([files](const Globals& globals) { return check(globals, *files); });

  struct Show {
    std::string file;
    std::vector<std::string> overrides;
    bool origins = false;
  };
  auto shown = std::make_shared<Show>();
  Command show_command = config.add("show", "Print a manifest with everything filled in, as YAML that loads again",
                                    "  caddie config show experiments/quickstart.yaml train.stop.steps=10 --origin");
  show_command.argument("MANIFEST", shown->file, "The manifest")
      .arguments("OVERRIDE", shown->overrides, "key.path=value")
      .flag("--origin", shown->origins, "Say where each value was set")
      .run([shown](const Globals& globals) { return show(globals, shown->file, shown->overrides, shown->origins); });

  struct Pair {
    std::string left, right;
  };
  auto pair = std::make_shared<Pair>();
  Command diff_command = config.add("diff", "Compare two manifests as they resolve");
  diff_command.argument("A", pair->left, "A manifest")
      .argument("B", pair->right, "Another one")
      .run([pair](const Globals& globals) { return diff(globals, pair->left, pair->right); });

  Command schema_command = config.add("schema", "Print the JSON Schema of manifests, for editors",
                                      "  caddie config schema > manifest.schema.json");
  schema_command.run([](const Globals& globals) { return schema(globals); });
}

}  // namespace caddie::cli
