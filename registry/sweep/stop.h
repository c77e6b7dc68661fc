// Signals to a runner: the first asks it to stop (its children write checkpoints), the second to stop at once. Nothing
// ends the process here; the runner looks at the count.
#pragma once

#include "caddie/export.h"

namespace caddie::registry {

// Takes SIGINT, SIGTERM, SIGHUP (unless it is ignored) and SIGUSR2 over while it lives.
class CADDIE_API StopSignals {
 public:
  StopSignals();
  ~StopSignals();
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;

  static int count() noexcept;         // SIGINT, SIGTERM and SIGHUP so far
  static int last() noexcept;          // number of the last of them
  static bool limit_near() noexcept;   // SIGUSR2: the batch system's time limit comes
};

}  // namespace caddie::registry
