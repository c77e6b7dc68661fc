#include "tools/cli/completion.h"

#include <algorithm>

#include "caddie/error.h"
#include "tools/cli/completion_scripts.h"

namespace caddie::cli {
namespace {

bool has(const std::string& text, const char* part) { return text.find(part) != std::string::npos; }

// What a shell offers for a value, by what the command line calls it: manifest, override, run, sweep, component, kind,
// stage, shell, directory, file; or words with | between.
std::string kind_of(const std::string& command, const std::string& raw) {
  std::string name = raw;
  std::transform(name.begin(), name.end(), name.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  while (name.starts_with("-")) name.erase(0, 1);
  if (name == "from" || name == "until" || name == "stage") return "stage";
  if (name == "format" && command == "export") return "csv|json";
  if (name == "shell") return "bash|zsh|fish";
  if (name == "kind" && command == "plugin new") return "model|optimizer|quantizer|compressor|ttt";
  if (has(command, "plugin") && has(name, "name") && command != "plugin new") return "component";
  if (has(command, "config diff") || has(name, "manifest")) return "manifest";
  if (has(name, "override") || name == "changes") return "override";
  if (name == "runs" && raw.starts_with("-")) return "directory";
  if (name == "cache" || name == "plugin-dir" || has(name, "dir") || name == "into") return "directory";
  if (has(name, "sweep") && has(name, "run")) return "sweep_run";
  if (has(command, "sweep plan") || has(command, "sweep run")) return "manifest";
  if (has(name, "sweep") || (command.starts_with("sweep ") && !raw.starts_with("-"))) return "sweep";
  if (has(name, "run") || name == "resume" || name == "baseline" || name == "a" || name == "b") return "run";
  return "file";
}

// 'it''s' as a word of a shell in single quotes.
std::string quoted(const std::string& text) {
  std::string out = "'";
  for (const char c : text) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return out + "'";
}

std::string joined(const std::vector<std::string>& words, const char* between) {
  std::string out;
  for (const std::string& word : words) out += (out.empty() ? "" : between) + word;
  return out;
}

// The tree as functions of a POSIX shell: what comes after a command, its options, what they and its arguments take.
class Tables {
 public:
  explicit Tables(const CommandDescription& root) { walk(root, ""); }

  std::string text(const CompletionWords& words) const {
    std::string keys, values;
    for (const OverrideKey& key : words.keys) {
      keys += key.path + "\n";
      if (key.values.empty()) continue;
      const auto bracket = key.path.find('['), end = key.path.find(']');
      // Any selector of the list: the key is the same.
      values += "    " +
                (bracket == std::string::npos
                     ? quoted(key.path)
                     : quoted(key.path.substr(0, bracket + 1)) + "*" + quoted(key.path.substr(end))) +
                ") echo " + quoted(joined(key.values, " ")) + " ;;\n";
    }
    return function("words", words_) + function("flags", flags_) + function("takes", takes_) +
           function("args", arguments_) + function("values", values) +
           "_caddie_components=" + quoted(joined(words.components, " ")) + "\n_caddie_keys=" + quoted(keys) + "\n";
  }

 private:
  static std::string function(const char* name, const std::string& cases) {
    return std::string("_caddie_") + name + "() {\n  case $1 in\n" + cases + "  esac\n}\n";
  }
  static std::string line(const std::string& key, const std::string& value) {
    return "    " + quoted(key) + ") echo " + quoted(value) + " ;;\n";
  }

  void walk(const CommandDescription& command, const std::string& path) {
    std::vector<std::string> names, flags, kinds;
    for (const CommandDescription& child : command.children) names.push_back(child.name);
    for (const OptionDescription& option : command.options) {
      if (option.names.empty()) {
        kinds.push_back(kind_of(path, option.argument) + (option.repeated ? "..." : ""));
        continue;
      }
      for (const std::string& name : option.names) {
        flags.push_back(name);
        if (option.takes_value) takes_ += line(path + " " + name, kind_of(path, option.names.back()));
      }
    }
    if (!names.empty()) words_ += line(path, joined(names, " "));
    if (!flags.empty()) flags_ += line(path, joined(flags, " "));
    if (!kinds.empty()) arguments_ += line(path, joined(kinds, " "));
    for (const CommandDescription& child : command.children)
      walk(child, path.empty() ? child.name : path + " " + child.name);
  }

  std::string words_, flags_, takes_, arguments_;
};

// fish wants one line for each thing.
void fish_lines(const CommandDescription& command, const std::string& path, std::string& out) {
  const std::string head = "complete -c caddie -n " + quoted("__caddie_at " + quoted(path));
  const auto doc = [](const std::string& text) { return text.empty() ? std::string() : " -d " + quoted(text); };
  for (const CommandDescription& child : command.children)
    out += head + " -a " + quoted(child.name) + doc(child.doc) + "\n";
  for (const OptionDescription& option : command.options) {
    if (option.names.empty()) {
      out += head + " -a " + quoted("(__caddie_offer " + quoted(kind_of(path, option.argument)) + ")") + "\n";
      continue;
    }
    std::string line = head;
    for (const std::string& name : option.names)
      line += name.starts_with("--") ? " -l " + name.substr(2) : " -s " + name.substr(1);
    if (option.takes_value)
      line += " -x -a " + quoted("(__caddie_offer " + quoted(kind_of(path, option.names.back())) + ")");
    out += line + doc(option.doc) + "\n";
  }
  for (const CommandDescription& child : command.children)
    fish_lines(child, path.empty() ? child.name : path + " " + child.name, out);
}

std::string fish_script(const CommandDescription& root, const CompletionWords& words) {
  std::string keys, values, lines;
  for (const OverrideKey& key : words.keys) {
    keys += (keys.empty() ? "" : " ") + quoted(key.path);
    for (const std::string& value : key.values) values += (values.empty() ? "" : " ") + quoted(key.path + "=" + value);
  }
  fish_lines(root, "", lines);
  std::string out = "set -g __caddie_components " + joined(words.components, " ") + "\nset -g __caddie_keys " + keys +
                    "\nset -g __caddie_values " + values + "\n";
  std::string commands;
  for (const CommandDescription& child : root.children) {
    commands += (commands.empty() ? "" : " ") + quoted(child.name);
    for (const CommandDescription& grandchild : child.children)
      commands += " " + quoted(child.name + " " + grandchild.name);
  }
  return out + "set -g __caddie_commands " + commands + "\n" + kFishScript + lines;
}

}  // namespace

std::string completion_script(const std::string& shell, const CommandDescription& root, const CompletionWords& words) {
  const std::string head = "# caddie's completion for " + shell + "; made by: caddie completion " + shell + "\n";
  if (shell == "bash") return head + Tables(root).text(words) + kShellScript + kBashScript;
  if (shell == "zsh") return "#compdef caddie\n" + head + Tables(root).text(words) + kShellScript + kZshScript;
  if (shell == "fish") return head + fish_script(root, words);
  throw Error(ErrorKind::usage, "unknown shell '" + shell + "'", "accepted: bash, zsh, fish");
}

}  // namespace caddie::cli
