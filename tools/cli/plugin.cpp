// caddie plugin list | info | check | new: what plugins there are, what they accept, whether one can be loaded, and a
// folder to begin one with.
#include <cstdio>
#include <memory>

#include "caddie/error.h"
#include "core/host/catalogue.h"
#include "core/host/check.h"
#include "core/host/describe.h"
#include "core/host/scaffold.h"
#include "tools/cli/command.h"

namespace caddie::cli {
namespace {

Catalogue open_catalogue(const Globals& globals) { return Catalogue(Catalogue::search_folders(globals.plugin_dirs)); }

void warn_about(const std::vector<PluginProblem>& problems) {
  for (const PluginProblem& problem : problems)
    std::fprintf(stderr, "refused: %s\n  %s\n", problem.file.c_str(), problem.reason.c_str());
}

int list(const Globals& globals) {
  const Catalogue catalogue = open_catalogue(globals);
  catalogue.probe();
  if (!globals.json) warn_about(catalogue.problems());
  const Json listed = list_components(catalogue);
  print_result(globals, canonical(listed), list_as_text(listed));
  return 0;
}

int info(const Globals& globals, const std::string& name) {
  const Catalogue catalogue = open_catalogue(globals);
  catalogue.probe();
  const Json described = describe_component(catalogue, name);
  print_result(globals, canonical(described), description_as_text(described));
  return 0;
}

int check(const Globals& globals, const std::string& what, bool here) {
  if (here) {
    print_result(globals, canonical(check_library(what)), "");
    return 0;
  }
  const Json checked = check_in_child(find_plugin_file(Catalogue::search_folders(globals.plugin_dirs), what));
  print_result(globals, canonical(checked), check_as_text(checked));
  return 0;
}

int scaffold(const Globals& globals, const std::string& kind, const std::string& name, const std::string& into) {
  const PluginKind which = kind_from_name(kind);
  const auto written = write_scaffold(which, name, into.empty() ? default_plugin_parent(which).string() : into);
  const Json result{{"folder", written.folder.string()}, {"files", written.files}};
  print_result(globals, canonical(result), written.next_steps);
  return 0;
}

}  // namespace

void add_plugin_commands(Command& root) {
  auto plugin = root.add("plugin", "Plugins: what there is, what they accept, and how to begin one");

  plugin.add("list", "All components with their plugins and files")
      .run([](const Globals& globals) { return list(globals); });

  struct Arguments {
    std::string name, kind, into;
    bool here = false;
  };
  const auto arguments = std::make_shared<Arguments>();

  plugin.add("info", "Options of a component, and where it comes from",
             "Examples:\n  caddie plugin info brotli\n  caddie plugin info store --json")
      .argument("NAME", arguments->name, "A component: muon, gptq, ... or KIND/NAME where two kinds have the name")
      .run([arguments](const Globals& globals) { return info(globals, arguments->name); });

  plugin.add("check", "Load a plugin in a child process and say what is wrong with it",
             "Examples:\n  caddie plugin check store\n  caddie plugin check build/libcaddie_mine.so")
      .argument("FILE|NAME", arguments->name, "A plugin's file, or the name of a plugin or component")
      .hidden_flag("--here", arguments->here)  // in this process, as the child does
      .run([arguments](const Globals& globals) { return check(globals, arguments->name, arguments->here); });

  plugin.add("new", "Write the folder of a new plugin: it builds, passes its suite and runs as it is",
             "Kinds: model optimizer quantizer compressor ttt\n"
             "Examples:\n  caddie plugin new compressor tiny\n  caddie plugin new optimizer lion --into ~/lion")
      .argument("KIND", arguments->kind, "What it is")
      .argument("NAME", arguments->name, "Its name, lower_snake, as manifests will say it")
      .option("--into", arguments->into, "Folder to make it in (default: plugins/KIND in caddie's tree, else the working folder)")
      .run([arguments](const Globals& globals) {
        return scaffold(globals, arguments->kind, arguments->name, arguments->into);
      });
}

}  // namespace caddie::cli
