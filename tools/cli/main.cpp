// All commands of the program.
#include <climits>  // defines __GLIBC__ where it is that
#ifdef __GLIBC__
#include <malloc.h>
#endif

#include "tools/cli/program.h"

namespace caddie::cli {
namespace {

// Memory that a step frees is what the next one takes: blocks up to 32 MiB (the most that can be asked for) stay with the
// process. By default each of them goes back to the system, which clears its pages again, 2 to 5 % of a small step.
void keep_freed_memory() {
#ifdef __GLIBC__
  mallopt(M_MMAP_THRESHOLD, 32 << 20);
  mallopt(M_TRIM_THRESHOLD, INT_MAX);
#endif
}

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

int caddie_main(int argc, char** argv) {
  caddie::cli::keep_freed_memory();
  return caddie::cli::run_program(argc, argv, caddie::cli::add_commands);
}
