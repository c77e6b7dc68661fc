#include "tools/cli/command.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <utility>

#include "core/base/suggest.h"
#include "tools/cli/parse.h"

namespace caddie::cli {

struct Command::Impl {
  CLI::App* app;
  Parsed* parsed;
};

Command::Command(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Command::~Command() = default;
Command::Command(Command&&) noexcept = default;

namespace {

void add_globals(CLI::App& app, Globals& globals) {
  const char* group = "Every command";
  app.add_option("--runs", globals.runs, "Folder of the run folders (default: runs)")->type_name("DIR")->group(group);
  app.add_option("--cache", globals.cache, "Folder of the stage cache (default: per user)")->type_name("DIR")->group(group);
  app.add_option("--plugin-dir", globals.plugin_dirs, "Look for plugins here first")->type_name("DIR")->group(group)
      ->expected(1)->take_all();
  app.add_flag("--json", globals.json, "Print the result as one line of JSON on stdout")->group(group);
  app.add_flag("-v,--verbose", globals.verbose, "Say more")->group(group);
  app.add_flag("-q,--quiet", globals.quiet, "Say only warnings and results")->group(group);
}

std::vector<std::string> command_names(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; }))
    names.push_back(command->get_name());
  return names;
}

// Complains about a word that is no command of `app`, which stands behind `before` ("" or "runs ").
bool unknown_command(const CLI::App& app, const std::string& before, const std::string& word) {
  const auto names = command_names(app);
  if (names.empty() || word.empty() || word[0] == '-' || std::find(names.begin(), names.end(), word) != names.end())
    return false;
  const std::string guess = closest(word, names);
  std::fprintf(stderr, "error: unknown command '%s%s'%s\n  %s %s--help lists all\n", before.c_str(), word.c_str(),
               guess.empty() ? "" : (", did you mean '" + before + guess + "'?").c_str(), invoked().c_str(),
               before.c_str());
  return true;
}

// "plan " or "runs list ", as far as the words are commands, for the hint after an error.
std::string known_command(const CLI::App& app, int argc, char** argv) {
  std::string known;
  const CLI::App* at = &app;
  for (int i = 1; i < argc; ++i) {
    const auto found = at->get_subcommands([&](const CLI::App* one) { return one->get_name() == argv[i]; });
    if (found.empty()) break;
    known += std::string(argv[i]) + " ";
    at = found.front();
  }
  return known;
}

// "unknown option '--limt', did you mean '--limit'?" for the first word that is no option of the command; empty if all are.
std::string unknown_option(const CLI::App& app, int argc, char** argv) {
  const CLI::App* at = &app;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i], name = word.substr(0, word.find('='));
    if (word == "--") break;
    if (const auto found = at->get_subcommands([&](const CLI::App* one) { return one->get_name() == word; });
        !found.empty())
      at = found.front();
    if (!word.starts_with("--") || at->get_option_no_throw(name) != nullptr) continue;
    std::vector<std::string> names;
    for (const CLI::Option* option : at->get_options([](const CLI::Option*) { return true; }))
      for (const std::string& known : option->get_lnames()) names.push_back("--" + known);
    const std::string guess = closest(name, names);
    return "unknown option '" + name + "'" + (guess.empty() ? "" : ", did you mean '" + guess + "'?");
  }
  return {};
}

CommandDescription describe_app(const CLI::App& app) {
  CommandDescription command{app.get_name(), app.get_description(), {}, {}};
  for (const CLI::Option* option : app.get_options([](const CLI::Option*) { return true; })) {
    OptionDescription described;
    for (const std::string& name : option->get_snames()) described.names.push_back("-" + name);
    for (const std::string& name : option->get_lnames()) described.names.push_back("--" + name);
    if (described.names.empty()) described.argument = option->get_name(true);
    else if (option->get_group().empty()) continue;  // hidden
    described.takes_value = option->get_expected_max() > 0 && option->get_type_size_max() > 0;
    described.repeated = option->get_expected_max() > 1;
    described.doc = option->get_description();
    command.options.push_back(std::move(described));
  }
  for (const CLI::App* child : app.get_subcommands([](const CLI::App*) { return true; }))
    command.children.push_back(describe_app(*child));
  return command;
}

std::string& invoked_name() {
  static std::string name = "caddie";
  return name;
}

// Lines within 100 columns, broken at spaces; examples, which people copy, stay as they are but for the program's name.
std::string wrapped(const std::string& text) {
  constexpr std::size_t kWidth = 100;
  std::string out;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    std::string line = text.substr(at, end - at);
    at = end + 1;
    const std::size_t start = std::min(line.find_first_not_of(' '), line.size());
    const bool own = line.compare(start, 7, "caddie ") == 0, example = own || line.compare(start, 8, "torchrun") == 0;
    if (own && start > 0) line.replace(start, 6, invoked());
    while (!example && line.size() > kWidth) {
      const std::size_t space = line.rfind(' ', kWidth);
      if (space == std::string::npos || space <= start) break;
      out += line.substr(0, space) + "\n";
      line = std::string(start, ' ') + line.substr(space + 1);
    }
    out += line + (end < text.size() ? "\n" : "");
  }
  return out;
}

void print_all_help(const CLI::App& app) {
  std::fputs(app.help("", CLI::AppFormatMode::Normal).c_str(), stdout);
  for (const CLI::App* child : app.get_subcommands([](const CLI::App*) { return true; })) {
    std::fputs("\n", stdout);
    print_all_help(*child);
  }
}

// Descriptions in columns, none beyond column 100.
class Help : public CLI::Formatter {
 public:
  Help() { column_width(26); }
  std::string make_option(const CLI::Option* option, bool positional) const override {
    return row(make_option_name(option, positional) + make_option_opts(option), make_option_desc(option));
  }
  std::string make_subcommand(const CLI::App* app) const override {
    return row(app->get_display_name(), app->get_description());
  }

 private:
  static std::string row(const std::string& name, const std::string& doc) {
    constexpr std::size_t kColumn = 28, kWidth = 100;
    std::string out = "  " + name;
    std::size_t column = out.size();
    if (column + 2 > kColumn && !doc.empty()) {
      out += "\n";
      column = 0;
    }
    std::size_t at = 0;
    bool first = true;
    while (at < doc.size()) {
      const std::size_t end = std::min(doc.find(' ', at), doc.size()), length = end - at;
      if (first || column + 1 + length > kWidth) {
        if (!first) out += "\n", column = 0;
        out += std::string(kColumn - column, ' ');
        column = kColumn;
      } else {
        out += ' ';
        ++column;
      }
      out += doc.substr(at, length);
      column += length;
      first = false;
      at = end + 1;
    }
    return out + "\n";
  }
};

}  // namespace

Command Command::add(const std::string& name, const std::string& doc, const std::string& more) {
  CLI::App* app = impl_->app->add_subcommand(name, doc);
  app->footer(more.empty() ? more : "\n" + wrapped(more));
  add_globals(*app, impl_->parsed->globals);
  return Command(std::make_unique<Impl>(Impl{app, impl_->parsed}));
}

Command& Command::flag(const std::string& names, bool& value, const std::string& doc) {
  impl_->app->add_flag(names, value, doc);
  return *this;
}
Command& Command::option(const std::string& names, std::string& value, const std::string& doc) {
  impl_->app->add_option(names, value, doc)->type_name("TEXT");
  return *this;
}
Command& Command::option(const std::string& names, std::int64_t& value, const std::string& doc) {
  impl_->app->add_option(names, value, doc)->type_name("N")->capture_default_str();
  return *this;
}
Command& Command::option(const std::string& names, double& value, const std::string& doc) {
  impl_->app->add_option(names, value, doc)->type_name("X")->capture_default_str();
  return *this;
}
Command& Command::option(const std::string& names, std::vector<std::string>& values, const std::string& doc) {
  impl_->app->add_option(names, values, doc)->type_name("TEXT")->expected(1)->take_all();
  return *this;
}
Command& Command::argument(const std::string& name, std::string& value, const std::string& doc, bool required) {
  impl_->app->add_option(name, value, doc)->required(required)->type_name("");
  return *this;
}
Command& Command::arguments(const std::string& name, std::vector<std::string>& values, const std::string& doc,
                            bool required) {
  impl_->app->add_option(name, values, doc)->required(required)->type_name("");
  return *this;
}

Command& Command::hidden_flag(const std::string& names, bool& value) {
  impl_->app->add_flag(names, value)->group("");
  return *this;
}

std::shared_ptr<const CommandDescription> Command::tree() const { return impl_->parsed->tree; }

void Command::run(std::function<int(const Globals&)> action) {
  Parsed* parsed = impl_->parsed;
  impl_->app->callback([parsed, action = std::move(action)] { parsed->action = action; });
}

int parse(int argc, char** argv, const std::string& version, const std::function<void(Command&)>& describe,
          Parsed& parsed) {
  CLI::App app("caddie: experiments with small language models, from one manifest to one verdict.", "caddie");
  app.set_version_flag("--version", version);
  const char* typed = std::getenv("CADDIE_COMMAND");
  if (typed != nullptr && *typed != '\0')
    invoked_name() = typed;
  else if (argc > 0)
    invoked_name() = argv[0];
  app.footer(wrapped(
      "\nStart with:\n"
      "  caddie run experiments/quickstart.yaml\n"
      "  caddie plan experiments/quickstart.yaml\n"
      "  caddie COMMAND --help      what a command takes, with examples; --help-all: all of it"));
  app.require_subcommand(0, 1);
  Command root(std::make_unique<Command::Impl>(Command::Impl{&app, &parsed}));
  app.formatter(std::make_shared<Help>());  // sub-commands take it over
  describe(root);
  *parsed.tree = describe_app(app);
  for (CLI::App* command : app.get_subcommands({}))
    if (!command->get_subcommands({}).empty()) command->require_subcommand(1);
  if (argc == 2 && std::string_view(argv[1]) == "--help-all") {
    print_all_help(app);
    return 0;
  }
  if (argc > 1 && unknown_command(app, "", argv[1])) return 2;
  if (argc > 2)
    for (const CLI::App* group : app.get_subcommands([&](const CLI::App* one) { return one->get_name() == argv[1]; }))
      if (unknown_command(*group, group->get_name() + " ", argv[2])) return 2;
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& success) {  // --help, --version
    app.exit(success);
    return 0;
  } catch (const CLI::ParseError& error) {
    const std::string unknown = unknown_option(app, argc, argv);
    std::fprintf(stderr, "error: %s\n  %s %s--help says what is accepted\n",
                 unknown.empty() ? error.what() : unknown.c_str(), invoked().c_str(),
                 known_command(app, argc, argv).c_str());
    return 2;
  }
  if (!parsed.action) {
    std::fputs(app.help().c_str(), argc > 1 ? stderr : stdout);
    return argc > 1 ? 2 : 0;
  }
  return -1;
}

const std::string& invoked() { return invoked_name(); }

std::string same_folders(const Globals& globals, bool cache) {
  return (globals.runs == "runs" ? "" : " --runs " + globals.runs) +
         (!cache || globals.cache.empty() ? "" : " --cache " + globals.cache);
}

void print_result(const Globals& globals, const std::string& json_line, const std::string& text) {
  const std::string& output = globals.json ? json_line : text;
  std::fwrite(output.data(), 1, output.size(), stdout);
  if (!output.empty() && output.back() != '\n') std::fputc('\n', stdout);
  std::fflush(stdout);
}

}  // namespace caddie::cli
