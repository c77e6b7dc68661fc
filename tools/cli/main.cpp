// All commands of the program.
#include "tools/cli/program.h"

namespace caddie::cli {
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

int caddie_main(int argc, char** argv) { return caddie::cli::run_program(argc, argv, caddie::cli::add_commands); }
