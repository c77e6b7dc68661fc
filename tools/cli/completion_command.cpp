// caddie completion bash | zsh | fish.
#include <memory>
#include <set>

#include "core/host/catalogue.h"
#include "tools/cli/completion.h"

namespace caddie::cli {
namespace {

CompletionWords words_of(const Globals& globals) {
  const Catalogue catalogue(Catalogue::search_folders(globals.plugin_dirs));
  catalogue.probe();
  std::set<std::string> names;
  for (const PluginKind kind :
       {PluginKind::model, PluginKind::optimizer, PluginKind::quantizer, PluginKind::compressor, PluginKind::ttt})
    for (const std::string& name : catalogue.names(kind)) names.insert(name);
  return {{names.begin(), names.end()}, override_keys(catalogue)};
}

}  // namespace

void add_completion_command(Command& root) {
  const auto shell = std::make_shared<std::string>();
  const auto tree = root.tree();
  auto completion =
      root.add("completion", "A script that completes commands, options, plugins, keys and runs",
               "For now:        eval \"$(caddie completion bash)\"\n"
               "For good, bash: caddie completion bash > ~/.local/share/bash-completion/completions/caddie\n"
               "          zsh:  caddie completion zsh > ~/.zfunc/_caddie     (with ~/.zfunc in fpath)\n"
               "          fish: caddie completion fish > ~/.config/fish/completions/caddie.fish\n"
               "Make it again after a new plugin or a new version.\n");
  completion.argument("shell", *shell, "bash, zsh or fish");
  completion.run([shell, tree](const Globals& globals) {
    const std::string script = completion_script(*shell, *tree, words_of(globals));
    print_result(globals, script, script);
    return 0;
  });
}

}  // namespace caddie::cli
