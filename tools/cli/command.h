// The command line, described once per command. Parsing is CLI11's, in command.cpp alone; the commands' files say what
// they take and call the library. A command returns an exit code or throws caddie::Error (main maps its kind).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace caddie::cli {

// Options that every command takes.
struct Globals {
  std::string runs = "runs";       // --runs DIR: where run folders are
  std::string cache;               // --cache DIR: the stage cache; empty: the per-user default
  bool json = false;               // --json: one line on stdout, everything else on stderr
  bool verbose = false, quiet = false;
  std::vector<std::string> plugin_dirs;  // --plugin-dir DIR
};

// The tree as it is, for shells.
struct OptionDescription {
  std::vector<std::string> names;  // "-o", "--output"; none for an argument
  std::string argument;            // an argument's name
  bool takes_value = false, repeated = false;
  std::string doc;
};
struct CommandDescription {
  std::string name, doc;
  std::vector<OptionDescription> options;  // those of every command too; what is hidden is left out
  std::vector<CommandDescription> children;
};

class Command {
 public:
  struct Impl;
  explicit Command(std::unique_ptr<Impl> impl);
  ~Command();
  Command(Command&&) noexcept;
  // A sub-command: `caddie NAME` or `caddie plugin NAME`. `doc` is one line; `more` is printed after the options
  // (examples that run).
  Command add(const std::string& name, const std::string& doc, const std::string& more = {});
  Command& flag(const std::string& names, bool& value, const std::string& doc);            // "-f,--force"
  Command& option(const std::string& names, std::string& value, const std::string& doc);   // "--output" FILE
  Command& option(const std::string& names, std::int64_t& value, const std::string& doc);
  Command& option(const std::string& names, double& value, const std::string& doc);
  Command& option(const std::string& names, std::vector<std::string>& values, const std::string& doc);  // repeatable
  Command& argument(const std::string& name, std::string& value, const std::string& doc, bool required = true);
  Command& arguments(const std::string& name, std::vector<std::string>& values, const std::string& doc,
                     bool required = false);  // takes the rest, for overrides and lists
  // As flag(), for what people do not need: it is in no help text.
  Command& hidden_flag(const std::string& names, bool& value);
  // All commands from the root on; complete once the actions run.
  std::shared_ptr<const CommandDescription> tree() const;
  // What the command does. Variables bound above must outlive it: keep them in a shared struct captured by value.
  void run(std::function<int(const Globals&)> action);

 private:
  std::unique_ptr<Impl> impl_;
};

// One function a file, called by main; each adds its commands.
void add_run_commands(Command& root);       // run, plan                    cli/run.cpp
void add_config_commands(Command& root);    // config check|show|diff|schema cli/config.cpp
void add_plugin_commands(Command& root);    // plugin list|info|check|new    cli/plugin.cpp
void add_data_commands(Command& root);      // data ..., tokenizer ...       cli/data.cpp
void add_artifact_commands(Command& root);  // artifact info|verify|decode   cli/artifact.cpp
void add_weights_commands(Command& root);    // weights export|import        cli/weights.cpp
void add_eval_commands(Command& root);      // eval, sample                  cli/eval.cpp
void add_runs_commands(Command& root);      // runs list|show|diff|...       cli/runs.cpp
void add_compare_command(Command& root);    // compare                       cli/compare.cpp
void add_pack_commands(Command& root);      // pack, verify                  cli/pack.cpp
void add_cache_commands(Command& root);     // stage explain, cache list|gc  cli/cache.cpp
void add_report_commands(Command& root);    // report, export               cli/report.cpp
void add_sweep_commands(Command& root);     // sweep plan|run|status|...     cli/sweep.cpp
void add_parity_command(Command& root);     // parity                        cli/parity.cpp
void add_bench_command(Command& root);      // bench                        cli/bench.cpp
void add_doctor_commands(Command& root);    // doctor, version               cli/doctor.cpp
void add_completion_command(Command& root);  // completion                  cli/completion_command.cpp

// How the program was called, for commands that are printed to be copied: "./caddie", "caddie", a path.
const std::string& invoked();
// " --runs DIR --cache DIR" as far as they were given, to be put behind such a command.
std::string same_folders(const Globals& globals, bool cache = false);

// Prints a result: with --json one line on stdout, otherwise `text`.
void print_result(const Globals& globals, const std::string& json_line, const std::string& text);

}  // namespace caddie::cli
