// Ctrl-C, SIGTERM and SIGUSR2 (which Slurm is told to send before the time is up): the first asks the run to stop at the
// next safe point (exit 75), the second ends the process at once (exit 130 or 143).
#pragma once

#include "caddie/export.h"

namespace caddie {

CADDIE_API void install_signal_handlers();
// For a rank: a launcher passes on what the terminal has sent to all already, so signals within a second count as one.
CADDIE_API void count_signals_once() noexcept;
CADDIE_API bool interrupted() noexcept;
CADDIE_API void request_interrupt() noexcept;  // as if the first signal had come; for tests
CADDIE_API void clear_interrupt() noexcept;    // for tests
// Throws Error(interrupted) once a stop was asked for.
CADDIE_API void throw_if_interrupted();

}  // namespace caddie
