// How a job's process ended, read from its run folder first and from its exit code second.
#pragma once

#include <filesystem>
#include <string>

#include "registry/sweep/folder.h"

namespace caddie::registry {

struct JobVerdict {
  std::string status;  // ok | budget | illegal | failed | interrupted
  std::string reason;  // one line; empty for ok
  int exit_code = 0;   // 128 + N after signal N
  // Whether the same again may end otherwise: a crash, an exit code 1 or 7. Not a manifest that is wrong.
  bool worth_a_retry = false;
};

// `wait_status` as waitpid gives it.
CADDIE_API JobVerdict verdict_of_exit(const SweepFolder& folder, const SweepJob& job, int wait_status);
// Of a process that nobody waited for: it is gone, and the run folder says how far it came. Pending if it says nothing.
CADDIE_API JobVerdict verdict_of_folder(const SweepFolder& folder, const SweepJob& job);

}  // namespace caddie::registry
