// Shell completion out of the tree of commands: for bash, zsh and fish, scripts that need nothing but the shell when
// a key is pressed. Plugin names and manifest keys are those of the moment the script was made.
#pragma once

#include <string>
#include <vector>

#include "core/config/override_keys.h"
#include "tools/cli/command.h"

namespace caddie::cli {

struct CompletionWords {
  std::vector<std::string> components;  // "muon", "gptq", ...
  std::vector<OverrideKey> keys;
};

// "bash", "zsh" or "fish"; throws Error(usage) for another shell.
std::string completion_script(const std::string& shell, const CommandDescription& root, const CompletionWords& words);

}  // namespace caddie::cli
