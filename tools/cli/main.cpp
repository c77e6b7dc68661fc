// The program: adds the commands, runs the chosen one, and maps an error's kind to an exit code. Nowhere else is a kind
// turned into a code, and nothing else ends the process.
#include <cstdio>
#include <exception>
#include <new>

#include "caddie/error.h"
#include "core/base/interrupt.h"
#include "core/base/log.h"
#include "tools/cli/parse.h"

namespace caddie::cli {
int exit_code(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::failed: return 1;
    case ErrorKind::usage: return 2;
    case ErrorKind::legality: return 4;
    case ErrorKind::budget: return 5;
    case ErrorKind::data: return 6;
    case ErrorKind::environment: return 7;
    case ErrorKind::interrupted: return 75;
  }
  return 1;
}

void say_error(const char* text) {
  log::set_status("");
  const std::string line(text);
  // A manifest's errors come with their own heads.
  const std::string head = line.starts_with("error: ") ? "" : log::styled("error: ", "31;1");
  std::fprintf(stderr, "%s%s\n", head.c_str(), line.c_str());
}

namespace {

void add_commands(Command& root) {
  add_run_commands(root);
  add_config_commands(root);
  add_plugin_commands(root);
  add_data_commands(root);
  add_artifact_commands(root);
  add_weights_commands(root);
  add_eval_commands(root);
#ifndef CADDIE_SUBMISSION  // the source that a submission ships has what a run needs
  add_sweep_commands(root);
  add_runs_commands(root);
  add_compare_command(root);
  add_pack_commands(root);
  add_cache_commands(root);
  add_report_commands(root);
  add_parity_command(root);
  add_bench_command(root);
  add_completion_command(root);
#endif
  add_doctor_commands(root);
}

}  // namespace
}  // namespace caddie::cli

int main(int argc, char** argv) {
  using namespace caddie;
  cli::Parsed parsed;
  try {
    const int code = cli::parse(argc, argv, "caddie " CADDIE_VERSION, cli::add_commands, parsed);
    if (code >= 0) return code;
    if (parsed.globals.json) log::set_fancy(false);
    if (parsed.globals.verbose) log::set_level(LogLevel::debug);
    log::set_quiet(parsed.globals.quiet);
    install_signal_handlers();
    return parsed.action(parsed.globals);
  } catch (const Error& error) {
    cli::say_error(error.what());
    return cli::exit_code(error.kind());
  } catch (const std::bad_alloc&) {
    cli::say_error("out of memory\n  Use fewer tokens per micro batch (train.micro_batches) or a smaller model.");
    return 1;
  } catch (const std::exception& error) {
    cli::say_error(error.what());
    return 1;
  }
}
